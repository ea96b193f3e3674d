"""Files that are whole or not there: write beside the final name, sync, rename. Nothing else opens files for writing."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from milbench.errors import ConfigError, DataError

_ORPHAN = re.compile(r"^\.(?P<name>.+)\.partial-(?P<pid>\d+)-[0-9a-f]{8}$")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: str | Path) -> Path:
    """Create `path` with its parents; a folder that cannot be made or written is a ConfigError."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(path, f"cannot create this folder ({error.strerror})", do="choose one you may write to") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(path, "this folder is not writable", do="choose another or change its permissions")
    return path


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; on success it is synced and renamed onto `path`, else removed."""
    path = Path(path)
    partial = _beside(path)
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a folder beside `path` to fill; on success it becomes `path`, else it is removed. `path` must not exist yet."""
    path = Path(path)
    if path.exists():
        raise DataError(path, "is there already", do="choose another name, or move it away first")
    make_folder(path.parent)
    partial = _beside(path)
    partial.mkdir()
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            if file.is_file():
                _sync(file)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep_orphans(folder: str | Path) -> list[Path]:
    """Remove what killed writers left in `folder` and whose process is gone."""
    swept = []
    for orphan in sorted(Path(folder).glob(".*.partial-*")):
        match = _ORPHAN.match(orphan.name)
        if match is None or is_alive(int(match["pid"])):
            continue
        shutil.rmtree(orphan) if orphan.is_dir() else orphan.unlink()
        swept.append(orphan)
    return swept


@contextlib.contextmanager
def hold_lock(path: str | Path) -> Iterator[None]:
    """Lock `path` for as long as the context lasts; the kernel lets go when the process ends, however it ends."""
    path = Path(path)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def lend_lock(path: str | Path, wait_s: float = 2.0) -> Iterator[int]:
    """Lock `path` and give a descriptor for a child to inherit: it stays locked as long as any process has that one open.

    Waits for whoever only looks whether it is held (`is_locked`); a holder that stays is a BlockingIOError.
    """
    with Path(path).open("a") as file:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
        yield file.fileno()


def is_locked(path: str | Path) -> bool:
    """Whether a living process holds `path`."""
    try:
        with Path(path).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def write_text(path: str | Path, text: str) -> None:
    """Write `text` atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a log; a reader sees it whole or not at all."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(line.rstrip("\n") + "\n")


@contextlib.contextmanager
def appending(path: str | Path) -> Iterator[int]:
    """A descriptor that appends to `path`, for the output of a child process."""
    with Path(path).open("ab") as file:
        yield file.fileno()


def append_json(path: str | Path, value: Any) -> None:
    """Append one line of JSON, NaN as null."""
    append_line(path, json.dumps(_plain(value), allow_nan=False))


def write_json(path: str | Path, value: Any) -> None:
    """Write plain JSON types atomically, NaN as null."""
    write_text(path, json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; a missing or torn file is a DataError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(path, "no such file") from error
    except json.JSONDecodeError as error:
        raise DataError(path, f"not valid JSON ({error.msg})", row=error.lineno) from error
    except UnicodeDecodeError as error:
        raise DataError(path, "not valid JSON (no UTF-8 text)") from error


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes; one that cannot be read is a DataError."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", do="check the path") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def write_table(path: str | Path, frame: Any) -> None:
    """Write a pandas data frame as .parquet or .csv, by its suffix, atomically."""
    path = Path(path)
    if path.suffix not in {".parquet", ".csv"}:
        raise ConfigError(path, "unknown table format", got=path.suffix, want=".parquet or .csv")
    with atomic_path(path) as partial:
        if path.suffix == ".parquet":
            frame.to_parquet(partial, index=False)
        else:
            frame.to_csv(partial, index=False)


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write one array as .npy atomically (memory-mappable)."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


@contextlib.contextmanager
def array_writer(path: str | Path, shape: tuple[int, ...], dtype: Any) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends rows to a .npy of known `shape`; it is there when all rows have come, else not at all."""
    dtype, rows = np.dtype(dtype), 0
    with atomic_path(path) as partial, partial.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

        def append(block: np.ndarray) -> None:
            nonlocal rows
            if block.shape[1:] != shape[1:]:
                raise ValueError(f"{path}: rows of shape {block.shape[1:]}, not {shape[1:]}")
            rows += len(block)
            file.write(np.ascontiguousarray(block, dtype).tobytes())

        yield append
        if rows != shape[0]:
            raise ValueError(f"{path}: {rows} rows were written, not {shape[0]}")


def read_array(path: str | Path, mmap: bool = False) -> np.ndarray:
    """Read one .npy array; `mmap` maps it copy-on-write instead of loading it. Never unpickles anything."""
    try:
        if mmap:
            return np.lib.format.open_memmap(path, mode="c")
        with Path(path).open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(path, "no such file") from error
    except ValueError as error:
        raise DataError(path, f"not a readable .npy array ({error})") from error


def read_rows(path: str | Path, start: int, stop: int) -> np.ndarray:
    """Rows start:stop of one .npy array, a fresh copy; nothing else of the file comes into memory, now or later."""
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with Path(path).open("rb") as file:
            shape, _, dtype = header[np.lib.format.read_magic(file)](file)
            width = int(np.prod(shape[1:]))
            file.seek(start * width * dtype.itemsize, os.SEEK_CUR)
            return np.fromfile(file, dtype, (stop - start) * width).reshape(stop - start, *shape[1:])
    except FileNotFoundError as error:
        raise DataError(path, "no such file") from error
    except (ValueError, KeyError) as error:
        raise DataError(path, f"not a readable .npy array ({error})") from error


def content_hash(*arrays: np.ndarray, text: str = "") -> str:
    """SHA-256 over the bytes, shapes and types of `arrays` and over `text`."""
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
