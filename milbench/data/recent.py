"""What was read of files lately, kept until they change: a page that is opened again, or twice, does not read them again."""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

MOST = 6
"""Things of one kind that are kept, those that were asked for last."""
Given = ParamSpec("Given")
Read = TypeVar("Read")


def signature(*paths: Path) -> str:
    """Changes when one of `paths` does: appears, goes, is written, and for folders gains or loses an entry."""
    parts = []
    for path in paths:
        try:
            found = path.stat()
            parts.append(f"{found.st_mtime_ns}:{found.st_size}:{found.st_ino}")
        except (FileNotFoundError, NotADirectoryError):
            parts.append("-")
    return " ".join(parts)


def recent(*within: str) -> Callable[[Callable[Given, Read]], Callable[Given, Read]]:
    """Keeps what a function read of the path that is its first argument; the others must be hashable. Nobody may change it.

    within: files of that folder by which a change is seen, too.
    """

    def keeping(read: Callable[Given, Read]) -> Callable[Given, Read]:
        kept = lru_cache(maxsize=MOST)(lambda _stamp, *given, **named: read(*given, **named))

        @wraps(read)
        def reading(*given: Given.args, **named: Given.kwargs) -> Read:
            path = Path(str(given[0]))
            return kept(signature(path, *(path / name for name in within)), *given, **named)

        return reading

    return keeping
