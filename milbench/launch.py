"""Before a study starts: what it is asked to do, checked; its command line; what its batches will hold. Loads no torch."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milbench.configs import HPOConfig, check_search_space, checked_pins, checked_ranges, parameters
from milbench.data.composition import BatchComposition
from milbench.data.folds import folds_brought, study_folds
from milbench.data.manifest import StoreLabels, store_tasks
from milbench.errors import ConfigError, MilbenchError, StudyError
from milbench.flags import assigned, flags_of
from milbench.params import Param
from milbench.run_config import CVRunConfig, PipelineConfig, at_least
from milbench.tasks import TaskSet

GROUPS = {
    "optimization": "Optimisation",
    "backbone": "Embedders, attention, mixer",
    "head": "Heads",
    "sampler": "Batches",
    "loss": "Losses and imbalance",
}
"""Groups of the search space in the order in which people look at them."""
STEPS = 40


@dataclass(frozen=True)
class LaunchPlan:
    """A study to be: fields and defaults are flags of `milbench hpo`."""

    store: Path
    study_dir: Path
    trials: int = 50
    workers: int = 1
    folds: int = 5
    max_epochs: int = 150
    patience: int = 20
    min_w: float = 0.3
    nn_accelerator: str = "auto"
    precision: str = "32-true"
    seed: int = 0
    fix: tuple[str, ...] = ()
    range: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """Arguments of `milbench`."""
        return ["hpo", *flags_of(self)]

    @property
    def text(self) -> str:
        """The command line, to be copied."""
        return shlex.join(["milbench", *self.command])

    def checked(self) -> CVRunConfig:
        """The study's settings; the first thing that is wrong is a ConfigError that names its flag."""
        at_least("--folds", self.folds, 2)
        at_least("--workers", self.workers, 1)
        tasks = store_tasks(self.store)
        pins = checked_pins(assigned(self.fix, "--fix"), tasks)
        ranges = checked_ranges(assigned(self.range, "--range"), tasks)
        if "min_w" in {*pins, *ranges}:
            raise ConfigError("min_w", "is a setting of the study", do="set it beside the budget")
        check_search_space(tasks, pins, ranges)
        settings = {name: getattr(self, name) for name in ("trials", "max_epochs", "patience", "min_w", "precision", "seed")}
        return PipelineConfig(study_dir=self.study_dir, store=self.store, **settings).cv_run(pins, ranges)


def in_app(error: MilbenchError) -> MilbenchError:
    """An error of a plan as an app says it: of parameters, without the flags of the command line."""
    text = str(error).replace("; see `milbench params`", "")
    for flag in ("--fix ", "--range "):
        if text.startswith(flag):
            where, _, what = text.removeprefix(flag).partition(": ")
            return ConfigError(where, what)
    return error


def study_folder(root: Path, name: str, field: str = "Name") -> Path:
    """Where a study of this name lies below the workspace; a name that is none is a ConfigError, which names the `field`."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) or ".." in name:
        raise ConfigError(field, got=name, want="letters, digits, - and _, with / for folders")
    return root / name


def new_study_folder(root: Path, name: str) -> Path:
    """Where a new study of this name goes; a name that is none, or taken, is an error."""
    folder = study_folder(root, name)
    if folder.exists() and any(folder.iterdir()):
        raise StudyError(name, "is there already", do="choose another name, or resume it below")
    return folder


def free_name(root: Path, stem: str) -> str:
    """The first of stem-1, stem-2, … that is not there yet."""
    return next(name for k in range(1, 10_000) if not (root / (name := f"{stem}-{k}")).exists())


def searched(tasks: TaskSet) -> dict[str, list[Param]]:
    """The searched parameters by group."""
    known = [param for param in parameters(tasks).values() if param.is_searched]
    return {group: [param for param in known if param.group == group] for group in GROUPS}


def steps_of(param: Param) -> list[float]:
    """The values at which a slider of a parameter stops, its own two ends among them."""
    low, high = float(param.low or 0), float(param.high or 0)
    if param.kind is int:
        return [float(value) for value in range(int(low), int(high) + 1)]
    between = np.geomspace(low, high, STEPS + 1) if param.log else np.linspace(low, high, STEPS + 1)
    return [low, *(float(f"{value:.3g}") for value in between[1:-1]), high]


def setting_of(param: Param, chosen: Sequence[Any]) -> tuple[str, str] | None:
    """What a control's value means: ("fix" or "range", its text); None where it is the parameter's own range.

    chosen: of a parameter with choices those that are kept, of another its two ends; both ends at one place pin it.
    """
    if param.choices:
        kept = [choice for choice in param.choices if choice in chosen]
        if not kept:
            raise ConfigError(param.name, "has no value left", do="choose one to pin it, or several to search over")
        if kept == list(param.choices):
            return None
        text = ",".join(map(str, kept))
        return ("fix" if len(kept) == 1 else "range"), f"{param.name}={text}"
    low, high = (param.kind(value) for value in chosen)
    if (low, high) == (param.kind(param.low or 0), param.kind(param.high or 0)):
        return None
    return ("fix", f"{param.name}={low}") if low == high else ("range", f"{param.name}={low}:{high}")


def settings_of(tasks: TaskSet, chosen: Mapping[str, Sequence[Any]], more: str = "") -> dict[str, tuple[str, ...]]:
    """fix and range of a plan, from the controls and from the lines of `more` (NAME=VALUE, NAME=LOW:HIGH or NAME=a,b)."""
    known = parameters(tasks)
    found = [setting for name, value in chosen.items() if (setting := setting_of(known[name], value)) is not None]
    for line in filter(None, (text.strip() for text in re.split(r"[\n;]", more))):
        found.append(("range" if re.search(r"[:,]", line.partition("=")[2]) else "fix", line.replace(" ", "")))
    return {flag: tuple(text for kind, text in found if kind == flag) for flag in ("fix", "range")}


def chosen_in(param: Param, texts: Mapping[str, str]) -> list[Any]:
    """What a control of this parameter begins with, as the URL has it (NAME=… texts); its own range where there is none."""
    own = list(param.choices) if param.choices else [float(param.low or 0), float(param.high or 0)]
    text = texts.get(param.name)
    if text is None:
        return own
    if param.choices:
        kept = [choice for choice in param.choices if str(choice) in text.split(",")]
        return kept or own
    low, _, high = text.partition(":")
    try:
        ends = [float(low), float(high or low)]
    except ValueError:
        return own
    steps = np.asarray(steps_of(param))
    return [float(steps[np.abs(steps - end).argmin()]) for end in ends]


def to_url(texts: Mapping[str, str]) -> str:
    """Changed parameters (NAME to its value or range) as one text for the URL."""
    return ";".join(f"{name}={value}" for name, value in texts.items())


def from_url(text: str) -> dict[str, str]:
    """The reverse of `to_url`; what is no NAME=VALUE is left out."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name: value for name, equals, value in pairs if equals and name}


def beyond(tasks: TaskSet, texts: Mapping[str, str]) -> dict[str, str]:
    """Those of `texts` that no control can show: of parameters that are not searched, or outside of their range."""
    known = {param.name: param for group in searched(tasks).values() for param in group}
    return {name: value for name, value in texts.items() if name not in known or not _shows(known[name], value)}


def _shows(param: Param, value: str) -> bool:
    setting = setting_of(param, chosen_in(param, {param.name: value}))
    if setting is None:
        return False
    shown = setting[1].partition("=")[2]
    return [param.parsed(end) for end in re.split("[:,]", shown)] == [param.parsed(end) for end in re.split("[:,]", value)]


@dataclass(frozen=True, eq=False)
class BatchPreview:
    """What the first fold's batches will hold: a row an endpoint, a row a batch, and the sizes behind them."""

    summary: pd.DataFrame
    batches: pd.DataFrame
    molecules: int
    batch_size: int

    @property
    def rarest(self) -> pd.Series:
        """The endpoint with the fewest positives."""
        return self.summary.iloc[int(self.summary["positives"].to_numpy().argmin())]


def own_folds(labels: StoreLabels) -> int:
    """How many folds a store brings for what is trained on; 0 where they are made, as many as the plan says."""
    return folds_brought(labels.fold, _trained_on(labels))


def _trained_on(labels: StoreLabels) -> np.ndarray:
    return np.isin(labels.split.astype(str), PipelineConfig.use_splits)


def preview_batches(labels: StoreLabels, plan: LaunchPlan) -> BatchPreview:
    """The composition of the first fold's first epoch; a searched parameter stands in the middle of its range."""
    config = middle_config(plan.checked(), labels.tasks, ("sampler", "optimization"))
    fold_of = study_folds(labels.y, labels.fold, _trained_on(labels), plan.folds, plan.seed)
    train = np.flatnonzero((fold_of >= 0) & (fold_of != fold_of[fold_of >= 0].min()))
    composed = BatchComposition(labels.y[train], config.sampler, config.optimization.batch_size, seed=plan.seed)
    return BatchPreview(composed.summary(labels.tasks.names), composed.preview(), len(train), composed.batch_size)


def middle_config(run: CVRunConfig, tasks: TaskSet, groups: Collection[str] = tuple(GROUPS)) -> HPOConfig:
    """A study's configuration with every searched parameter of these groups in the middle of its range."""
    known = parameters(tasks) | run.ranges
    params = {name: _middle(param) for name, param in known.items() if param.is_searched and param.group in groups}
    lam = {name: param.default for name, param in known.items() if param.field == "lam"}
    return HPOConfig.from_params({**lam, **params, "min_w": run.min_w, **run.pins}, tasks, runtime=run.runtime)


def _middle(param: Param) -> Any:
    """The default where it lies in the range, else the middle of the range."""
    if param.choices:
        return param.default if param.default in param.choices else param.choices[len(param.choices) // 2]
    low, high, default = float(param.low or 0), float(param.high or 0), param.default
    if isinstance(default, int | float) and low <= default <= high:
        return default
    return param.kind((low * high) ** 0.5 if param.log else (low + high) / 2)
