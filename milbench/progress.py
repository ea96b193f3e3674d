"""Progress bars on a terminal; nothing where there is none (the log's lines say it there). A run's folder hears it too."""

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

Advance = Callable[[int, str], None]
"""Called with how much is done in all, and a word on what is being done."""
listeners: list[Callable[[str, int, int], None]] = []
"""Who else is told of progress: called with (words, done, total)."""


class _Rate(ProgressColumn):
    """Pieces of work a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """A bar for `total` pieces of work, `done` of them before, as long as the context lasts: rate, time gone, time left."""
    console = Console(stderr=True)
    times = (_Rate(), TimeElapsedColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, completed=done)

        def advance(done: int, words: str = "") -> None:
            said = f"{title} {words}".strip()
            bar.update(task, completed=done, description=said)
            for listener in listeners:
                listener(said, done, total)

        advance(done)
        yield advance
