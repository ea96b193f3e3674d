"""What the benchmarks share."""

import sys
from pathlib import Path

import numpy as np
import pytest

from milbench.data.manifest import check_files, read_manifest
from milbench.data.store import load_store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in ("report", "large_workspace"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_benchmark_replaces_its_own_section_of_the_results_and_no_other(tmp_path: Path) -> None:
    from report import write_section  # type: ignore[import-not-found]

    path = tmp_path / "results.md"
    for name, text in (("a.py", "old"), ("b.py", "other"), ("a.py", "new")):
        write_section(name, text, path)
    path.write_text(path.read_text() + "\nBy hand.\n")
    write_section("b.py", "again", path)
    found = path.read_text()
    assert [found.count(word) for word in ("old", "other", "new", "again", "By hand.")] == [0, 0, 1, 1, 1]
    assert found.index("new") < found.index("again") < found.index("By hand.")


def test_a_repeated_store_is_a_whole_store_with_every_copy_under_ids_of_its_own(tmp_path: Path) -> None:
    from large_workspace import repeat_store  # type: ignore[import-not-found]

    source = small_demo(tmp_path)
    repeat_store(source, tmp_path / "large", 25)
    check_files(tmp_path / "large", read_manifest(tmp_path / "large")["files"], hashes=True)
    once, (bags, tasks) = load_store(source)[0], load_store(tmp_path / "large")
    assert len(bags) == len(set(bags.ids)) == 25 and tasks.names == load_store(source)[1].names
    assert np.array_equal(bags.bag_sizes[20:], once.bag_sizes[:5]) and np.array_equal(bags.raw.y[20:], once.raw.y[:5])
    assert 0 < abs(bags.x2d[20:] - once.x2d[:5]).max() < 0.1


def small_demo(folder: Path) -> Path:
    """A store of ten of the demo's molecules."""
    from milbench.data.demo import make_demo, write_demo
    from milbench.demo import make_store

    write_demo(make_demo(10, workers=1), folder)
    make_store(folder / "tables", folder / "store")
    return folder / "store"
