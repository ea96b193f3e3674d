"""Parameters that a study is to run before it searches: `--enqueue params.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from milbench.configs import HPOConfig, modern, parameters
from milbench.errors import ConfigError, DataError
from milbench.files import read_json
from milbench.params import Param
from milbench.run_config import CVRunConfig
from milbench.tasks import TaskSet


def enqueue(study: optuna.Study, path: Path, tasks: TaskSet, run: CVRunConfig) -> int:
    """Put the parameters of a file into the study's queue, those that it has not had before; gives how many."""
    before = len(study.get_trials(deepcopy=False))
    for params in wanted(path, tasks, run):
        study.enqueue_trial(params, user_attrs={"enqueued": path.name}, skip_if_exists=True)
    return len(study.get_trials(deepcopy=False)) - before


def wanted(path: Path, tasks: TaskSet, run: CVRunConfig) -> list[dict[str, Any]]:
    """The searched parameters of each entry of a file (an object, or a list of them), checked; what is left out is searched."""
    content = read_json(path)
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(path, "holds no parameters", want="a JSON object of parameters, or a list of them")
    places = [path] if len(entries) == 1 else [f"{path}, entry {number}" for number in range(1, len(entries) + 1)]
    return [_checked(entry, place, tasks, run) for entry, place in zip(entries, places, strict=True)]


def _checked(entry: Mapping[str, Any], where: object, tasks: TaskSet, run: CVRunConfig) -> dict[str, Any]:
    known = parameters(tasks) | run.ranges
    named = modern(entry, tasks)
    values = HPOConfig.from_params(named, tasks, where=where).to_params(tasks)
    out = {}
    for name in known:
        if name not in named or values.get(name) is None:
            continue
        if _is_searched(known[name], run):
            out[name] = _in_range(known[name], values[name], where)
        elif values[name] != (used := run.pins.get(name, run.min_w if name == "min_w" else known[name].default)):
            what = f"{name} is not searched by this study, which uses {used}"
            raise ConfigError(where, what, got=values[name], do="leave it out, or pin it with --fix in a study of its own")
    return out


def _is_searched(param: Param, run: CVRunConfig) -> bool:
    if param.name in run.pins:
        return False
    return run.search_min_w if param.name == "min_w" else param.is_searched


def _in_range(param: Param, value: Any, where: object) -> Any:
    fits = value in param.choices if param.choices else param.low <= value <= param.high  # type: ignore[operator]
    if not fits:
        what = f"{param.name} is outside what this study searches"
        raise ConfigError(where, what, got=value, want=param.range_text, do=f"widen it with --range {param.name}=…")
    return value
