"""Command-line flags: how optional ones are shown, and how a list flag may be repeated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
OptionalText = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="INT")]


def gathered(args: Sequence[str], flag: str = "--fix") -> list[str]:
    """Arguments with all values of a list flag in one place: `--fix a=1 --fix b=2` is `--fix a=1 b=2`."""
    rest: list[str] = []
    values: list[str] = []
    taking = False
    for arg in args:
        if arg == flag:
            taking = True
        elif arg.startswith(f"{flag}="):
            values.append(arg.removeprefix(f"{flag}="))
        elif taking and not arg.startswith("-"):
            values.append(arg)
        else:
            taking = False
            rest.append(arg)
    return [*rest, flag, *values] if values else rest
