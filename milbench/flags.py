"""Command-line flags: how optional ones are shown, and how list flags may be repeated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
OptionalText = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="INT")]


LIST_FLAGS = ("--fix", "--range")


def gathered(args: Sequence[str], flags: Sequence[str] = LIST_FLAGS) -> list[str]:
    """Arguments with all values of a list flag in one place: `--fix a=1 --fix b=2` is `--fix a=1 b=2`."""
    rest: list[str] = []
    values: dict[str, list[str]] = {}
    taking: list[str] | None = None
    for arg in args:
        flag, equals, value = arg.partition("=")
        if flag in flags:
            taking = values.setdefault(flag, [])
            if equals:
                taking.append(value)
                taking = None
        elif taking is not None and not arg.startswith("-"):
            taking.append(arg)
        else:
            taking = None
            rest.append(arg)
    return [*rest, *(part for flag, given in values.items() for part in (flag, *given))]
