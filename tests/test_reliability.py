"""RELIABILITY.md is written by passing tests alone, row by row."""

from pathlib import Path

import pytest

from reliability import write

pytest_plugins = ["pytester"]

TESTS = """
import pytest
from reliability import *

def test_kept(reliability):
    reliability("nothing lost", "40 of 40")

@pytest.mark.parametrize("n", [1, 2])
def test_many(reliability, n):
    reliability(f"exact with {n}", f"{n} of {n}")

def test_broken(reliability):
    reliability("never written", "0 of 40")
    assert False
"""


def rows(path: Path) -> dict[str, list[str]]:
    cells = [line.strip("| ").split(" | ") for line in path.read_text().splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in cells[1:]}


def test_figures_of_passing_tests_are_written_on_request_only(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "RELIABILITY.md"
    monkeypatch.setattr("reliability.PATH", path)
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest("pytest_plugins = ['reliability']")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=3, failed=1)
    assert not path.exists()
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--write-reliability").assert_outcomes(passed=3, failed=1)
    found = rows(path)
    assert list(found) == ["nothing lost", "exact with 1", "exact with 2"]
    assert found["exact with 2"][:2] == ["2 of 2", "test_it.py test_many"]


def test_other_rows_stay(tmp_path: Path) -> None:
    path = tmp_path / "RELIABILITY.md"
    write(path, [("a", "1 of 2", "tests/a.py test_a"), ("b", "3", "tests/b.py test_b")], "2026-01-01, 2 cores, x86_64")
    write(path, [("a", "2 of 2", "tests/a.py test_a")], "2026-01-02, 2 cores, x86_64")
    assert rows(path)["a"] == ["2 of 2", "tests/a.py test_a", "2026-01-02, 2 cores, x86_64"]
    assert rows(path)["b"] == ["3", "tests/b.py test_b", "2026-01-01, 2 cores, x86_64"]
    assert path.read_text().startswith("# Reliability")
