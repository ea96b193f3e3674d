"""`milbench recipe`: the steps of a TOML file, plain milbench commands one after the other; run again, it goes on."""

import logging
import re
import shlex
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from milbench.errors import ConfigError, DataError
from milbench.files import make_folder, read_json, write_json
from milbench.flags import assigned
from milbench.registry import did_you_mean

log = logging.getLogger(__name__)

DONE = "steps"
"""Folder, in the recipe's `out`, of what is finished."""
_SETTING = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class RecipeConfig:
    """Run the steps of a recipe, each a milbench command; what is finished is left, what was interrupted goes on."""

    recipe: Annotated[Path, tyro.conf.Positional]
    """The recipe (.toml)."""
    steps: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Run these steps alone; default: all, in order."""
    set: tuple[str, ...] = ()
    """Change settings of the recipe: NAME=VALUE, one or more."""
    list: bool = False
    """Print the commands and what they cost; run nothing."""


@dataclass(frozen=True)
class Step:
    """A milbench command: its arguments, what it is for, and what it takes ("" where that was not measured)."""

    name: str
    about: str
    arguments: tuple[str, ...]
    hours: str

    @property
    def shell(self) -> str:
        """The command as one would type it."""
        return shlex.join(["milbench", *self.arguments])


@dataclass(frozen=True)
class Recipe:
    """A recipe as it is to be run. `out`: the folder that everything goes to."""

    name: str
    out: Path
    steps: tuple[Step, ...]


def read_recipe(path: Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe, with `changes` (NAME=VALUE) of its settings; what does not fit is a DataError or ConfigError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(path, f"cannot be read ({' '.join(str(error).split())})", do="name a recipe (.toml)") from error
    settings, steps = content.get("settings", {}), content.get("step", [])
    for name, value in settings.items():
        if not (isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))):
            raise DataError(path, f"setting {name}", got=repr(value), want="a text, or a list of texts")
    if not isinstance(steps, list) or not steps or not isinstance(settings.get("out"), str):
        raise DataError(path, "is not a recipe", want="a table [settings] with out, and [[step]] with name, about and run")
    for name, value in assigned(changes, "--set").items():
        if name not in settings:
            do = did_you_mean(name, settings) or f"settings: {', '.join(settings)}"
            raise ConfigError("--set", "no such setting", got=name, do=do)
        settings[name] = shlex.split(value) if isinstance(settings[name], list) else value
    read = tuple(_step(path, step, settings) for step in steps)
    return Recipe(str(content.get("name", path.stem)), Path(settings["out"]), read)


def _step(path: Path, step: dict[str, Any], settings: dict[str, str | list[str]]) -> Step:
    missing = [key for key in ("name", "about", "run") if not isinstance(step.get(key), str)]
    if missing:
        raise DataError(path, f"a step has no {missing[0]}", got=str(step.get("name", "")), want="name, about and run")
    parts = [word for token in shlex.split(step["run"]) for word in _filled(path, token, settings)]
    return Step(step["name"], step["about"], tuple(parts), str(step.get("hours", "")))


def _filled(path: Path, token: str, settings: dict[str, str | list[str]]) -> list[str]:
    """A word of a command with its settings; one that is a list becomes as many words."""
    unknown = [name for name in _SETTING.findall(token) if name not in settings]
    if unknown:
        raise DataError(path, f"no setting {unknown[0]!r}", want=", ".join(settings))
    alone = _SETTING.fullmatch(token)
    value = settings[alone[1]] if alone is not None else ""
    return value if isinstance(value, list) else [_SETTING.sub(lambda found: str(settings[found[1]]), token)]


def run_recipe(config: RecipeConfig) -> tuple[list[str], int]:
    """Run the steps; (lines to print, exit status: that of the step that failed)."""
    recipe = read_recipe(config.recipe, config.set)
    names = [step.name for step in recipe.steps]
    for name in config.steps:
        if name not in names:
            raise ConfigError(name, "is no step of this recipe", want=", ".join(names))
    chosen = [step for step in recipe.steps if not config.steps or step.name in config.steps]
    if config.list:
        return [line for step in chosen for line in _listed(step)], 0
    make_folder(recipe.out / DONE)
    for step in chosen:
        mark = recipe.out / DONE / f"{step.name}.json"
        if mark.is_file() and read_json(mark).get("command") == list(step.arguments):
            log.info("%s: done already", step.name)
            continue
        log.info("%s: %s", step.name, step.shell)
        started = time.perf_counter()
        status = subprocess.run([sys.executable, "-m", "milbench.cli", *step.arguments], check=False).returncode
        if status:
            do = f"mend it, then run the same command again: it goes on at {step.name}"
            return [f"{recipe.name}: {step.name} ended with status {status}; {do}"], status if status > 0 else 1
        write_json(mark, {"command": list(step.arguments), "seconds": round(time.perf_counter() - started, 1)})
    return [f"{recipe.name}: {len(chosen)} step{'s' * (len(chosen) != 1)} done, in {recipe.out}"], 0


def _listed(step: Step) -> list[str]:
    cost = f" ({step.hours})" if step.hours else ""
    return [f"# {step.name}: {step.about}{cost}", step.shell, ""]
