"""Progress: a bar on a terminal, now and then a line of the log where there is none. A run's folder hears it too."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

log = logging.getLogger(__name__)

LINE_S = 30.0
"""Seconds between two lines, where no bar can be drawn; in long work they become a twentieth of the time gone."""
Advance = Callable[[int, str], None]
"""Called with how much is done in all, and a word on what is being done."""
listeners: list[Callable[[str, int, int], None]] = []
"""Who else is told of progress: called with (words, done, total)."""


class _Rate(ProgressColumn):
    """Pieces of work a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class _Lines:
    """Says how far work is, at most every `LINE_S`; `before` of its `total` pieces were done when it began."""

    def __init__(self, total: int, before: int) -> None:
        self.total, self.before, self.began, self.told = total, before, time.monotonic(), 0.0

    def __call__(self, words: str, done: int) -> None:
        gone = time.monotonic() - self.began
        if gone - self.told < max(LINE_S, gone / 20):
            return
        self.told = gone
        left = gone * (self.total - done) / (done - self.before) if done > self.before else 0.0
        about = f", about {clocked(left)} to go" if left else ""
        log.info("%s: %s of %s, %s gone%s", words, f"{done:,}", f"{self.total:,}", clocked(gone), about)


def clocked(seconds: float) -> str:
    """A duration as people say it."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """`total` pieces of work, `done` of them before, are told as long as the context lasts, with time gone and time left.

    A bar is drawn by the main thread alone: an app's threads write to its page, even where the server has a terminal.
    """
    console = Console(stderr=True)
    times = (_Rate(), TimeElapsedColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    drawn = console.is_terminal and threading.current_thread() is threading.main_thread()
    line = None if drawn else _Lines(total, done)
    with Progress(*columns, console=console, transient=True, disable=not drawn) as bar:
        task = bar.add_task(title, total=total, completed=done)

        def advance(done: int, words: str = "") -> None:
            said = f"{title} {words}".strip()
            bar.update(task, completed=done, description=said)
            if line is not None:
                line(said, done)
            for listener in listeners:
                listener(said, done, total)

        advance(done)
        yield advance


@contextmanager
def counted(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """The same, told how much more is done."""
    done = 0
    with progress(title, total) as advance:

        def more(count: int) -> None:
            nonlocal done
            done += count
            advance(done, "")

        yield more
