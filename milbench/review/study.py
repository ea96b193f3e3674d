"""A study read once into tables; a study that is running is read without being disturbed."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from milbench.errors import StudyError
from milbench.report import number
from milbench.review.epochs import epochs_table
from milbench.trial_tables import curves_table, folds_table, params_table, rows, spread, trials_table
from milbench.workspace import open_study, study_files


@dataclass(frozen=True, eq=False)
class StudyView:
    """A study at one moment. `tasks`: its endpoints; `settings`: what all its trials share, as the study recorded them.

    trials, params, folds: see `milbench.trial_tables`. curves: one row an epoch of a trial and fold: score (what pruning
    compares), train_loss, val_macro_ap, val_min_ap and ap_<endpoint>; NaN where one of the two sources lacks it. frozen: the
    trials as Optuna has them.
    """

    folder: Path
    tasks: tuple[str, ...]
    settings: dict[str, Any]
    trials: pd.DataFrame
    params: pd.DataFrame
    folds: pd.DataFrame
    curves: pd.DataFrame
    frozen: tuple[FrozenTrial, ...]

    @property
    def max_epochs(self) -> int:
        """Most epochs of a fold."""
        return int(self.settings["max_epochs"])

    @property
    def n_folds(self) -> int:
        """Folds of a trial, as far as one has been seen to have."""
        seen = [int(table["fold"].to_numpy().max()) + 1 for table in (self.folds, self.curves) if len(table)]
        return max(seen, default=0)

    @property
    def complete(self) -> pd.DataFrame:
        """The trials that ran through all folds, best first."""
        return rows(self.trials, state="complete").sort_values("value", ascending=False, kind="stable")

    @property
    def best(self) -> int | None:
        """Number of the best trial; None before one is complete."""
        return None if self.complete.empty else int(self.complete["number"].iloc[0])

    @cached_property
    def by_trial(self) -> pd.DataFrame:
        """Mean and standard deviation over the folds: trial, n, and <name>_mean, <name>_sd of score, AP and AUC."""
        return spread(
            self.folds, ["score", "macro_ap", "min_ap", "macro_auc", *self.task_columns("ap"), *self.task_columns("auc")]
        )

    def task_columns(self, metric: str) -> list[str]:
        """<metric>_<endpoint> of every endpoint."""
        return [f"{metric}_{name}" for name in self.tasks]

    def searched(self, number: int) -> dict[str, Any]:
        """The searched parameters of a trial."""
        return next(trial.params for trial in self.frozen if trial.number == number)

    def counts(self) -> dict[str, int]:
        """Trials by state."""
        return {str(state): int(n) for state, n in self.trials["state"].value_counts().items()}


def read_study(folder: Path) -> StudyView:
    """The study in `folder` as it is now; read again only when its files have changed. A StudyError where there is none."""
    where, key = folder.resolve(), (folder, _stamp(folder))
    with _lock:
        known = _views.get(where)
        if known is None or known[0] != key:
            known = _views[where] = key, _read(folder)
        return known[1]


def begun(folder: Path) -> StudyView | None:
    """The study of a run that may not have come so far yet; None before there is one to read."""
    try:
        return read_study(folder)
    except StudyError:
        return None


_views: dict[Path, tuple[object, StudyView]] = {}
_lock = threading.Lock()


def _stamp(folder: Path) -> object:
    return [(file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else None for file in study_files(folder)]


def _read(folder: Path) -> StudyView:
    study = open_study(folder)
    settings = study.user_attrs.get("settings")
    if settings is None:
        raise StudyError(folder, "holds a study that milbench did not make", do="open it in the dashboard")
    trials = study.get_trials(deepcopy=False)
    tasks, max_epochs = tuple(settings["tasks"].split(", ")), int(settings["max_epochs"])
    return StudyView(
        folder=folder,
        tasks=tasks,
        settings=settings,
        trials=trials_table(trials, tasks, max_epochs),
        params=params_table(trials),
        folds=folds_table(trials, tasks),
        curves=_curves(curves_table(trials, max_epochs), epochs_table(folder, tasks), settings.get("parallel_folds") == "on"),
        frozen=tuple(trials),
    )


def _curves(reported: pd.DataFrame, logged: pd.DataFrame, together: bool) -> pd.DataFrame:
    """What the study was told and what metrics.jsonl says, joined; of folds `together` it was told the mean, which all show."""
    keys = ["trial", "fold", "epoch"]
    if together:
        joined = reported.drop(columns="fold").merge(logged, on=["trial", "epoch"], how="outer")
        return joined.fillna({"fold": 0}).astype({"fold": np.int64}).sort_values(keys, ignore_index=True)
    return reported.merge(logged, on=keys, how="outer").sort_values(keys, ignore_index=True)


def shown_trials(view: StudyView, newest: bool = False) -> pd.DataFrame:
    """The trials as people read them, best first, or the `newest` first.

    Columns: trial, state, score, macro AP, AP of each endpoint, folds, seconds.
    """
    names = {"number": "trial", "state": "state", "value": "score", "macro_ap": "macro AP"}
    names |= {f"ap_{name}": name for name in view.tasks} | {"folds": "folds", "seconds": "seconds"}
    shown = pd.DataFrame({new: view.trials[old] for old, new in names.items()}).round(3).round({"seconds": 0})
    by, ascending = (["trial"], [False]) if newest else (["score", "trial"], [False, True])
    return shown.sort_values(by, ascending=ascending, ignore_index=True)


def score_words(shown: pd.DataFrame) -> dict[str, Callable[[float], str]]:
    """How the scores of `shown_trials` are written, by column: with three digits, and – where there is none."""
    return {name: number for name in shown.select_dtypes("float") if name != "seconds"}


def pruning_points(view: StudyView) -> pd.DataFrame:
    """Where pruned trials stopped: trial, fold, epoch, score."""
    pruned = rows(view.trials, state="pruned").dropna(subset=["pruned_epoch"])
    names = {"number": "trial", "pruned_fold": "fold", "pruned_epoch": "epoch"}
    at = pd.DataFrame({new: pruned[old].to_numpy(np.int64) for old, new in names.items()})
    return at.merge(view.curves[["trial", "fold", "epoch", "score"]], on=["trial", "fold", "epoch"], how="left")
