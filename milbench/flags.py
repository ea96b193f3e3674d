"""Command-line flags: how optional ones are shown, and how list flags may be repeated."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from milbench.errors import ConfigError

Config = TypeVar("Config")

OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
OptionalText = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="INT")]
OptionalShare = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]
Average = Literal["mean", "logit", "stack"]
"""What becomes of several models' predictions; data/averaging.py does it."""


LIST_FLAGS = ("--fix", "--range", "--also", "--oof", "--features2d", "--features3d", "--without", "--set")


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


def flags_of(config: Any) -> list[str]:
    """The flags that mean this dataclass, what has its default left out."""
    out: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default:
            continue
        if dataclasses.is_dataclass(value):
            out += flags_of(value)
            continue
        if isinstance(value, bool):
            out.append(f"--{'' if value else 'no-'}{field.name}")
        elif isinstance(value, tuple):
            out += [f"--{field.name}", *map(str, value)]
        else:
            out += [f"--{field.name}", str(value)]
    return out


def from_record(kind: type[Config], record: Mapping[str, Any], **changes: Any) -> Config:
    """A configuration as a run recorded it (plain JSON types), with `changes`; what is none of its fields is left out, and so
    are groups of flags: they say where it ran.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given = {name: value for name, value in record.items() if name in fields and not isinstance(value, Mapping)}
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(value)
        elif isinstance(value, str) and fields[name].type in (Path, OptionalPath):
            given[name] = Path(value)
    return kind(**given | changes)


def assigned(texts: Sequence[str], flag: str) -> dict[str, str]:
    """NAME=VALUE texts of a flag as a dict."""
    out = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(flag, got=text, want="NAME=VALUE" if flag == "--fix" else "NAME=LOW:HIGH or NAME=a,b")
        out[name.strip()] = value.strip()
    return out
