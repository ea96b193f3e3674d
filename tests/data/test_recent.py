"""What was read lately is read again when it has changed, and only then."""

import os
from pathlib import Path

import pytest

from milbench.data.recent import MOST, recent
from milbench.errors import DataError


def test_a_file_is_read_once_and_again_when_it_is_another(tmp_path: Path):
    path, times = tmp_path / "a.txt", []

    @recent()
    def read(path: str | Path, shout: bool = False) -> str:
        times.append(str(path))
        text = Path(path).read_text()
        return text.upper() if shout else text

    path.write_text("one")
    assert [read(path), read(path), read(str(path)), read(path, shout=True)] == ["one", "one", "one", "ONE"]
    assert len(times) == 3
    new = tmp_path / "new"
    new.write_text("two")
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))  # as old and as large
    new.replace(path)
    assert read(path) == "two"
    for n in range(MOST):
        (tmp_path / f"{n}.txt").write_text(str(n))
        read(tmp_path / f"{n}.txt")
    read(path)
    assert times[-1] == str(path)


def test_a_folder_is_another_when_the_file_that_tells_of_it_is(tmp_path: Path):
    @recent("manifest.json")
    def read(folder: Path) -> str:
        if not (folder / "manifest.json").is_file():
            raise DataError(folder, "is no store")
        return (folder / "manifest.json").read_text()

    with pytest.raises(DataError):
        read(tmp_path)
    (tmp_path / "manifest.json").write_text("1")
    assert read(tmp_path) == "1"
    (tmp_path / "manifest.json").write_text("22")
    assert read(tmp_path) == "22"
