"""Commands that are run again: alone in their folder of unfinished work, and only with what it was begun with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from milbench.errors import ConfigError
from milbench.files import hold_lock


@contextmanager
def alone(folder: Path, command: str) -> Iterator[None]:
    """Hold `folder` as long as the context lasts; a ConfigError while another process holds it."""
    try:
        with hold_lock(folder / "lock"):
            yield
    except BlockingIOError as error:
        raise ConfigError(folder, f"another {command} is working here", do="wait for it, or choose another --out") from error


def read_back(value: Any) -> Any:
    """A value as it would come back from JSON: tuples as lists."""
    if isinstance(value, dict):
        return {key: read_back(inner) for key, inner in value.items()}
    return [read_back(inner) for inner in value] if isinstance(value, list | tuple) else value


def refuse_other(where: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """A ConfigError that names the first difference, if there is one."""
    for name, old, new in _differences(was, now, ""):
        do = "choose another --out, or delete this folder" if where.is_dir() else "choose another --out, or delete this file"
        raise ConfigError(where, f"was made with other settings: {name} was {old!r}, now {new!r}", do=do)


def _differences(was: Any, now: Any, name: str) -> list[tuple[str, Any, Any]]:
    if isinstance(was, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*was, *now])
        return [found for key in keys for found in _differences(was.get(key), now.get(key), f"{name}.{key}".strip("."))]
    return [] if was == now else [(name, was, now)]
