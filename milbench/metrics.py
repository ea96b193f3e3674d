"""Honest scores: per-task AP and ROC-AUC, macro and worst, the trial's objective."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from milbench.errors import StudyError
from milbench.tasks import TaskSet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metrics:
    """Scores of T tasks. NaN where a task has no positive (AP) or one class only (AUC); those are left out of macro and min."""

    names: tuple[str, ...]
    ap: np.ndarray
    auc: np.ndarray
    prevalence: np.ndarray
    n_known: np.ndarray

    @property
    def macro_ap(self) -> float:
        """Mean AP over the tasks that have one; NaN without any."""
        return _mean(self.ap)

    @property
    def min_ap(self) -> float:
        """AP of the worst task; NaN without any."""
        return float(np.nanmin(self.ap)) if np.isfinite(self.ap).any() else float("nan")

    @property
    def macro_auc(self) -> float:
        """Mean ROC-AUC over the tasks that have one; NaN without any."""
        return _mean(self.auc)

    @property
    def undefined(self) -> tuple[str, ...]:
        """Tasks without an AP: no known positive."""
        return tuple(name for name, ap in zip(self.names, self.ap, strict=True) if not np.isfinite(ap))

    @property
    def one_class(self) -> tuple[str, ...]:
        """Tasks with an AP but no AUC: every known label is positive."""
        scores = zip(self.names, self.ap, self.auc, strict=True)
        return tuple(name for name, ap, auc in scores if np.isfinite(ap) and not np.isfinite(auc))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, a NaN staying NaN."""
        tasks = {
            name: {"ap": float(a), "auc": float(u), "prevalence": float(p), "n": int(n)}
            for name, a, u, p, n in zip(self.names, self.ap, self.auc, self.prevalence, self.n_known, strict=True)
        }
        return {"macro_ap": self.macro_ap, "min_ap": self.min_ap, "macro_auc": self.macro_auc, "tasks": tasks}


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def evaluate(y: np.ndarray, scores: np.ndarray, weights: np.ndarray, tasks: TaskSet) -> Metrics:
    """Score predictions. y [n, T] 0/1 with NaN where missing (left out), scores [n, T] finite, weights [n, T] >= 0.

    AP is sample-weighted for the endpoints that declare it; AUC never is. Scores that are NaN or inf are a StudyError.
    """
    if not np.isfinite(scores).all():
        row, task = np.argwhere(~np.isfinite(scores))[0]
        raise StudyError("predictions", row=int(row) + 1, column=tasks.names[task], got=float(scores[row, task]), want="finite")
    ap, auc, prevalence, n_known = (np.full(len(tasks), np.nan) for _ in range(4))
    for t, endpoint in enumerate(tasks.endpoints):
        known = np.isfinite(y[:, t])
        truth, score = y[known, t], scores[known, t]
        n_known[t] = len(truth)
        if not len(truth):
            continue
        prevalence[t] = truth.mean()
        weight = weights[known, t] if endpoint.ap_weighted else None
        if truth.any() and (weight is None or weight[truth == 1].sum() > 0):
            ap[t] = average_precision_score(truth, score, sample_weight=weight)
        if truth.any() and not truth.all():
            auc[t] = roc_auc_score(truth, score)
    return Metrics(tasks.names, ap, auc, prevalence, n_known)


def warn_undefined(metrics: Metrics, where: str) -> None:
    """Name the tasks that have no AP or no AUC here, in one warning each."""
    if metrics.undefined:
        log.warning("%s: no positive of %s, left out of macro and min AP", where, ", ".join(metrics.undefined))
    if metrics.one_class:
        log.warning("%s: no negative of %s, left out of macro AUC", where, ", ".join(metrics.one_class))


def fold_score(metrics: Metrics, min_w: float) -> float:
    """(1 − min_w)·macro_ap + min_w·min_ap (seed 4.5)."""
    return (1 - min_w) * metrics.macro_ap + min_w * metrics.min_ap


def trial_value(scores: Iterable[float]) -> float:
    """Mean of the fold scores."""
    return float(np.mean(list(scores)))
