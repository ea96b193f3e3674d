"""A study's trials as tidy tables: one row a trial, a fold, an epoch. Reads Optuna's frozen trials; loads no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

CONFIGURATION, FAILURE = "configuration", "failure"
"""Attributes of a trial: what it runs, why it failed."""
FOLD_FIGURES = ("score", "macro_ap", "min_ap", "macro_auc", "best_epoch", "epochs", "seconds", "peak_memory_mb")
"""What a fold records beside the AP and AUC of each endpoint."""


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial was stopped, or its worker went away: it is no failure, and its configuration is run again."""
    return trial.state == TrialState.FAIL and CONFIGURATION in trial.user_attrs and FAILURE not in trial.user_attrs


def state_word(trial: FrozenTrial) -> str:
    """How a trial is, in a word: Optuna's, or interrupted."""
    return "interrupted" if is_interrupted(trial) else trial.state.name.lower()


def trials_table(trials: Sequence[FrozenTrial], tasks: Sequence[str], max_epochs: int) -> pd.DataFrame:
    """One row a trial: number, state, value (its score), macro_ap, ap_<endpoint> (means over folds), seconds, folds finished,
    and of a pruned one the fold and epoch it was stopped at; failure: why it failed, '' else. NaN where there is none.
    """
    out = []
    for trial in trials:
        complete, folds = trial.state.name == "COMPLETE", fold_figures(trial)
        stopped = trial.last_step if trial.state.name == "PRUNED" else None
        out.append(
            {
                "number": trial.number,
                "state": state_word(trial),
                "value": trial.value if complete and trial.value is not None else np.nan,
                "macro_ap": trial.user_attrs.get("macro_ap", np.nan),
                **{f"ap_{name}": trial.user_attrs.get(f"ap_{name}", np.nan) for name in tasks},
                "seconds": sum(fold.get("seconds", 0.0) for fold in folds.values()),
                "folds": len(folds),
                "pruned_fold": np.nan if stopped is None else stopped // max_epochs,
                "pruned_epoch": np.nan if stopped is None else stopped % max_epochs,
                "started": trial.datetime_start,
                "completed": trial.datetime_complete,
                "failure": trial.user_attrs.get(FAILURE, ""),
            }
        )
    columns = ("number", "state", "value", "macro_ap", *(f"ap_{name}" for name in tasks))
    more = ("seconds", "folds", "pruned_fold", "pruned_epoch", "started", "completed", "failure")
    return pd.DataFrame(out, columns=[*columns, *more])


def params_table(trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    """The searched parameters: one row a trial (index: its number), one column a parameter."""
    return pd.DataFrame([trial.params for trial in trials], index=pd.Index([trial.number for trial in trials], name="number"))


def folds_table(trials: Sequence[FrozenTrial], tasks: Sequence[str]) -> pd.DataFrame:
    """One row a finished fold of a trial: trial, fold, FOLD_FIGURES, ap_<endpoint> and auc_<endpoint>."""
    names = [*FOLD_FIGURES, *(f"ap_{name}" for name in tasks), *(f"auc_{name}" for name in tasks)]
    out = [
        {"trial": trial.number, "fold": k, **{name: fold.get(name, np.nan) for name in names}}
        for trial in trials
        for k, fold in sorted(fold_figures(trial).items())
    ]
    return pd.DataFrame(out, columns=["trial", "fold", *names])


def curves_table(trials: Sequence[FrozenTrial], max_epochs: int) -> pd.DataFrame:
    """One row a reported epoch: trial, fold, epoch, score."""
    out = [
        (trial.number, step // max_epochs, step % max_epochs, value)
        for trial in trials
        for step, value in trial.intermediate_values.items()
    ]
    return pd.DataFrame(out, columns=["trial", "fold", "epoch", "score"])


def spread(folds: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over the folds of each trial: trial, n, <column>_mean, <column>_sd (NaN for one fold)."""
    grouped = folds.groupby("trial")
    out = pd.DataFrame({"n": grouped.size()})
    for name in columns:
        out[f"{name}_mean"], out[f"{name}_sd"] = grouped[name].mean(), grouped[name].std(ddof=1)
    return out.reset_index()


def rows(table: pd.DataFrame, **equal: object) -> pd.DataFrame:
    """The rows whose columns have these values."""
    mask = np.ones(len(table), dtype=bool)
    for name, value in equal.items():
        mask &= (table[name] == value).to_numpy(dtype=bool)
    return table.iloc[np.flatnonzero(mask)]


def fold_figures(trial: FrozenTrial) -> dict[int, dict[str, Any]]:
    """`fold_<k>_<name>` attributes by fold."""
    folds: dict[int, dict[str, Any]] = {}
    for key, value in trial.user_attrs.items():
        if key.startswith("fold_"):
            _, k, name = key.split("_", 2)
            folds.setdefault(int(k), {})[name] = value
    return folds
