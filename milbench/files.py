"""Files that are whole or not there: write beside the final name, sync, rename. Nothing else opens files for writing."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np

from milbench.errors import ConfigError, DataError, DiskError

_ORPHAN = re.compile(r"^\..+\.partial-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})[0-9a-f]{8}$")
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_ABANDONED_S = 24 * 3600
"""What another machine writes is an orphan when it has not grown for so long."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{_HOST}{uuid.uuid4().hex[:8]}")


@contextlib.contextmanager
def _space_for(path: Path) -> Iterator[None]:
    """A full disk is one line that names `path`, what is written, rather than a file within."""
    try:
        yield
    except (OSError, DiskError) as error:
        code = errno.ENOSPC if isinstance(error, DiskError) else error.errno
        if code not in _FULL:
            raise
        do = "free some space, then run the same command again to go on"
        raise DiskError(path, f"cannot be written ({os.strerror(code)})", do=do) from error


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
        with _space_for(path):
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
        with _space_for(path):
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
    try:
        with _space_for(path):
            partial.mkdir()
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
    """Remove what killed writers left in `folder`: those of this machine whose process is gone, others' after a day."""
    return [orphan for orphan in sorted(Path(folder).glob(".*.partial-*")) if _is_orphan(orphan) and remove(orphan)]


def _is_orphan(path: Path) -> bool:
    match = _ORPHAN.match(path.name)
    if match is None:
        return False
    if match["host"] == _HOST:
        return not is_alive(int(match["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    except FileNotFoundError:  # somebody else was faster
        return False


def remove(path: str | Path) -> bool:
    """Remove a file, or a folder with all that is in it, whole or not at all; gives whether there was one."""
    path = Path(path)
    try:
        if not path.is_dir():
            path.unlink()
        elif _ORPHAN.match(path.name):
            shutil.rmtree(path)
        else:
            shutil.rmtree(path.rename(_beside(path)))  # killed in the middle, it leaves an orphan, not half a folder
    except FileNotFoundError:  # somebody else was faster
        return False
    return True


@contextlib.contextmanager
def hold_lock(path: str | Path) -> Iterator[None]:
    """Lock `path` for as long as the context lasts; the kernel lets go when the process ends, however it ends."""
    path = Path(path)
    with _locked(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def hold_new_lock(path: str | Path) -> Iterator[None]:
    """Make `path`, locked from its first moment on, as long as the context lasts: nobody ever finds it free while we live."""
    path = Path(path)
    partial = _beside(path)
    with partial.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        partial.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def lend_lock(path: str | Path, wait_s: float = 2.0) -> Iterator[int]:
    """Lock `path` and give a descriptor for a child to inherit: it stays locked as long as any process has that one open.

    Waits for whoever only looks whether it is held (`is_locked`); a holder that stays is a BlockingIOError.
    """
    with _locked(Path(path), wait_s) as file:
        yield file.fileno()


def _locked(path: Path, wait_s: float = 0.0) -> IO[str]:
    """`path`, open and locked; a BlockingIOError where another holds it for longer than `wait_s`."""
    until = time.monotonic() + wait_s
    while True:
        with _space_for(path):
            file = path.open("a")
        if _is_ours(file, path):
            return file
        file.close()
        if time.monotonic() > until:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
        time.sleep(0.02)


def _is_ours(file: IO[str], path: Path) -> bool:
    """Lock an open file; whether that was free, and is what lies at `path` still: who held it may have removed it meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


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


def copy_folder(source: str | Path, folder: str | Path) -> int:
    """Copy the files of `source` (not those of folders in it) to `folder`, which must not exist yet; gives their number."""
    files = [file for file in sorted(Path(source).iterdir()) if file.is_file()]
    with atomic_folder(folder) as partial:
        for file in files:
            shutil.copyfile(file, partial / file.name)
    return len(files)


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a log that several processes may write; it is there whole or, where the disk is full, not at all."""
    path, content = Path(path), (line.rstrip("\n") + "\n").encode()
    with _space_for(path), path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file.fileno()).st_size
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(size)
            raise


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
        writer: Any = SimpleNamespace(write=file.write)  # given the file itself, NumPy would not say why it cannot write
        np.save(writer, np.ascontiguousarray(array), allow_pickle=False)


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


def write_tensors(path: str | Path, content: dict[str, Any]) -> None:
    """Write tensors and plain types with `torch.save`, atomically."""
    import torch

    whole = io.BytesIO()  # torch writing to the file itself would not say that the disk is full
    torch.save(content, whole)
    with atomic_path(path) as partial:
        partial.write_bytes(whole.getbuffer())


def read_tensors(path: str | Path, do: str = "") -> dict[str, Any]:
    """Read what `write_tensors` wrote, onto the CPU, unpickling nothing but tensors and plain types; else a DataError."""
    from pickle import UnpicklingError
    from zipfile import is_zipfile

    import torch

    path = Path(path)
    if not path.is_file():
        raise DataError(path, "no such file")
    if not is_zipfile(path):  # what torch.save writes; its reader stumbles in many ways over anything else
        raise DataError(path, "is not a checkpoint, or only half of one", do=do)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise DataError(path, f"is not a readable checkpoint ({' '.join(str(error).split())[:120]})", do=do) from error
    return content if isinstance(content, dict) else {}


def content_hash(*arrays: np.ndarray, text: str = "") -> str:
    """SHA-256 over the bytes, shapes and types of `arrays` and over `text`."""
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
