"""RELIABILITY.md: what the tests did to milbench and what was left, each figure written by the test that made it.

A test takes the fixture `reliability` and calls it with its promise and its figure. With `--write-reliability` the figures
of the tests that passed replace their rows in RELIABILITY.md; the rows of other tests stay.
"""

import datetime
import os
import platform
import re
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "RELIABILITY.md"
HEAD = """# Reliability

What was done to milbench, and what was left of its work. Each figure was written by the test beside it, when it passed:
`.venv/bin/python -m pytest -m "slow or chaos or cluster" TEST --write-reliability`. CI runs the same tests.

| promise | figure | test | when, where |
|---|---|---|---|
"""
Figure = Callable[[str, str], None]
_figures = pytest.StashKey[list[tuple[str, str]]]()
_passed = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-reliability", action="store_true", help="write the figures of passing tests to RELIABILITY.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_passed] = []


@pytest.fixture
def reliability(request: pytest.FixtureRequest) -> Figure:
    """Call it with (promise, figure) once the promise was kept."""
    figures = request.node.stash.setdefault(_figures, [])

    def record(promise: str, figure: str) -> None:
        figures.append((promise, figure))

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        test = re.sub(r"\[.*\]$", "", item.nodeid).replace("::", " ")
        item.config.stash[_passed] += [(*figure, test) for figure in item.stash.get(_figures, [])]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    made = session.config.stash[_passed]
    if made and session.config.getoption("--write-reliability"):
        where = f"{datetime.date.today().isoformat()}, {os.cpu_count()} cores, {platform.machine()}"
        write(PATH, made, where)


def write(path: Path, made: list[tuple[str, str, str]], where: str) -> None:
    """Replace the rows of these promises in the table, keep the others; in the order of tests and promises."""
    rows = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == 4 and cells[0] not in {"promise", "---"}:
                rows[cells[0]] = cells
    for promise, figure, test in made:
        rows[promise] = [promise, figure, test, where]
    lines = [f"| {' | '.join(cells)} |" for cells in sorted(rows.values(), key=lambda cells: (cells[2], cells[0]))]
    path.write_text(HEAD + "\n".join(lines) + "\n")
