"""Where no bar can be drawn, a long command still says how far it is, and not too often."""

import io
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from milbench import progress as module
from milbench.progress import clocked, counted, progress


class Clock:
    """Time as a test tells it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def work(clock: Clock, pieces: int, each_s: float, before: int = 0) -> None:
    with progress("molecules", pieces, before) as advance:
        for done in range(before + 1, pieces + 1):
            clock.now += each_s
            advance(done, "")


def test_work_says_how_far_it_is_every_half_minute_and_what_is_left(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "milbench"):
        work(clock, 960, 0.125)
    assert caplog.messages == [
        "molecules: 240 of 960, 30 s gone, about 90 s to go",
        "molecules: 480 of 960, 60 s gone, about 60 s to go",
        "molecules: 720 of 960, 90 s gone, about 30 s to go",
        "molecules: 960 of 960, 120 s gone",
    ]


def test_what_was_done_before_does_not_make_the_rest_seem_faster(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "milbench"):
        work(clock, 100, 30.0, before=97)
    assert caplog.messages[0] == "molecules: 98 of 100, 30 s gone, about 60 s to go"


def test_short_work_is_silent_and_a_day_of_it_fits_on_some_pages(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "milbench"):
        work(clock, 20, 1.0)
        assert not caplog.messages
        work(clock, 86_400, 1.0)
    assert 60 < len(caplog.messages) < 200


def test_a_command_without_a_terminal_says_it_on_standard_error(tmp_path: Path) -> None:
    code = (
        "from milbench import progress\n"
        "from milbench.runlog import log_to_console\n"
        "log_to_console(); progress.LINE_S = 0.0\n"
        "with progress.progress('study', 2) as advance: advance(1, 'trial 0')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "study trial 0: 1 of 2, 0 s gone" in done.stderr
    assert not done.stdout


def test_what_is_counted_is_told_as_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(module, "listeners", [lambda *heard: told.append(heard)])
    with counted("draws", 9) as more:
        more(4)
        more(5)
    assert told == [("draws", 0, 9), ("draws", 4, 9), ("draws", 9, 9)]


@pytest.mark.parametrize("main", [True, False])
def test_a_bar_is_drawn_by_the_main_thread_alone(monkeypatch: pytest.MonkeyPatch, main: bool) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(module, "Console", lambda stderr: Console(file=terminal, force_terminal=True))

    def some() -> None:
        with progress("molecules", 2) as advance:
            advance(1, "")

    if main:
        some()
    else:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(some).result()
    assert ("molecules" in terminal.getvalue()) == main


def test_durations_are_said_in_the_unit_that_fits() -> None:
    assert [clocked(s) for s in (4, 599, 600, 7200, 36_000)] == ["4 s", "599 s", "10 min", "120 min", "10.0 h"]
