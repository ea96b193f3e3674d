"""Progress bars on a terminal; nothing where there is none (the log's lines say it there)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]
"""Called with how much is done in all, and a word on what is being done."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """A bar for `total` pieces of work as long as the context lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(done: int, words: str = "") -> None:
            bar.update(task, completed=done, description=f"{title} {words}".strip())

        yield advance
