"""A file is whole or not there."""

import json
import multiprocessing
import os
import re
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milbench.errors import ConfigError, DataError
from milbench.files import (
    append_line,
    atomic_folder,
    atomic_path,
    content_hash,
    hold_lock,
    is_locked,
    lend_lock,
    make_folder,
    read_array,
    read_json,
    remove,
    sweep_orphans,
    write_array,
    write_json,
    write_table,
    write_text,
)


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"epoch": 1})
    with pytest.raises(RuntimeError, match="power"), atomic_path(path) as partial:
        partial.write_text("{")
        raise RuntimeError("power")
    assert read_json(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, [1])
    with pytest.raises(TypeError):
        write_json(path, {"what": object()})
    assert read_json(path) == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_a_file_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_path(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        assert partial.parent == path.parent  # a rename must not cross file systems
    assert path.read_text() == "half"


def test_a_crash_while_filling_a_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "deep" / "store") as partial:
        write_text(partial / "a.txt", "a")
        raise KeyboardInterrupt
    assert list((tmp_path / "deep").iterdir()) == []


def test_an_existing_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    write_text(tmp_path / "mine.txt", "precious")
    with pytest.raises(DataError, match="is there already; choose another name"), atomic_folder(tmp_path):
        pytest.fail("must not be entered")
    assert (tmp_path / "mine.txt").read_text() == "precious"


def _dead_pid() -> int:
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    return process.pid or 0


def test_orphans_of_dead_writers_are_swept_and_nothing_else(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x") as partial:
        mine = re.sub(r"^\.x\.", "", partial.name)  # partial-<pid>-<this machine><anything>
        partial.write_text("x")
    dead = mine.replace(f"-{os.getpid()}-", f"-{_dead_pid()}-")
    elsewhere = f"{dead[:-16]}{'0' * 16}"
    gone = [tmp_path / f".{name}.{rest}" for name, rest in (("a.json", dead), ("store", dead), ("old", elsewhere))]
    gone[1].mkdir()
    kept = [tmp_path / f".b.{mine}", tmp_path / f".e.{elsewhere}", tmp_path / ".c.partial-notes", tmp_path / "x"]
    for path in (gone[0], gone[1] / "x.npy", gone[2], *kept):
        path.write_text("half")
    os.utime(gone[2], (0, time.time() - 25 * 3600))  # another machine's that has not grown for a day
    assert sweep_orphans(tmp_path) == sorted(gone)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_folder_is_removed_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    write_text(tmp_path / "store" / "a.txt", "a")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("shutil.rmtree", lambda _: (_ for _ in ()).throw(RuntimeError("killed")))
        remove(tmp_path / "store")
    assert not (tmp_path / "store").exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f".store.partial-{os.getpid()}-")  # an orphan, once this process is gone
    assert remove(left)
    assert not list(tmp_path.iterdir())
    assert not remove(tmp_path / "store")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(value=json_values)
def test_json_comes_back_as_it_was(folder: Path, value: object) -> None:
    write_json(folder / "a.json", value)
    assert read_json(folder / "a.json") == value


def test_nan_arrays_and_paths_become_plain_json(tmp_path: Path) -> None:
    value = {"ap": float("nan"), "w": np.array([1.5, np.inf]), "n": np.int64(3), "p": Path("a/b"), 1: (np.float32(0.5),)}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"ap": None, "w": [1.5, None], "n": 3, "p": "a/b", "1": [0.5]}
    assert "NaN" not in text


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff\xfe\x00", b"[1, 2,,]"])
def test_torn_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json.*: not valid JSON") as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


@given(array=hnp.arrays(st.sampled_from([np.float32, np.int64]), hnp.array_shapes(max_dims=3, min_side=0, max_side=4)))
def test_arrays_come_back_bit_for_bit(folder: Path, array: np.ndarray) -> None:
    write_array(folder / "x.npy", array)
    again = read_array(folder / "x.npy")
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04no zip", "header", "half"], ids=str)
def test_a_broken_array_is_one_line(tmp_path: Path, content: bytes | str, mmap: bool) -> None:
    path = tmp_path / "x.npy"
    write_array(path, np.arange(100.0))
    whole = path.read_bytes()
    path.write_bytes({"header": whole[:30], "half": whole[:400]}.get(content, content))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"x\.npy: not a readable \.npy array") as caught:
        read_array(path, mmap)
    assert "\n" not in str(caught.value)


def test_an_array_of_python_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a readable"):
        read_array(tmp_path / "x.npy")


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_json, read_array):
        with pytest.raises(DataError, match=r"gone: no such file"):
            read(tmp_path / "gone")


def test_a_mapped_array_cannot_change_the_file(tmp_path: Path) -> None:
    write_array(tmp_path / "x.npy", np.zeros(5))
    mapped = read_array(tmp_path / "x.npy", mmap=True)
    mapped[:] = 7
    assert not read_array(tmp_path / "x.npy").any()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_tables_are_written_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"ID": ["007", "8"], "x": [0.1, 2.0]})
    write_table(tmp_path / f"t{suffix}", frame)
    read = pd.read_parquet if suffix == ".parquet" else (lambda path: pd.read_csv(path, dtype={"ID": str}))
    pd.testing.assert_frame_equal(read(tmp_path / f"t{suffix}"), frame)
    with pytest.raises(ConfigError, match=r"unknown table format, got '\.xlsx', want \.parquet or \.csv"):
        write_table(tmp_path / "t.xlsx", frame)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"cannot create this folder .*; choose one you may write to"):
            make_folder(path)
    assert make_folder(tmp_path / "a" / "b").is_dir()


def test_lines_are_appended(tmp_path: Path) -> None:
    for line in ("one", "two\n"):
        append_line(tmp_path / "log.txt", line)
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


def test_the_content_hash_sees_every_bit_shape_type_and_text() -> None:
    x = np.arange(6, dtype=np.float32)
    others = [
        content_hash(x),
        content_hash(x, text="a"),
        content_hash(x.reshape(2, 3)),
        content_hash(x.astype(np.float64)),
        content_hash(np.nextafter(x, np.float32(9))),
        content_hash(x[::-1]),
        content_hash(),
    ]
    assert len(set(others)) == len(others)
    assert content_hash(x.reshape(2, 3).T.copy().T) == content_hash(x.reshape(2, 3))


def test_who_waited_for_a_lock_whose_file_was_removed_holds_the_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    first, held = ExitStack(), threading.Event()

    def wait_for_it() -> None:
        with lend_lock(path, 30):
            held.set()
            done.wait(30)

    done = threading.Event()
    first.enter_context(hold_lock(path))
    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    time.sleep(0.1)
    assert not held.is_set()
    first.close()
    try:
        assert held.wait(30)
        assert is_locked(path)
        with pytest.raises(BlockingIOError), hold_lock(path):
            pass
    finally:
        done.set()
        waiting.join()
