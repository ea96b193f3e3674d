"""LightGBM, as it is and shallow, random forest and logistic regression on a fold's scaled features, one model an endpoint."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from joblib import cpu_count

from milbench.data.cv import FoldData
from milbench.errors import DataError
from milbench.models.segments import segment_sum
from milbench.seeds import stream_seed

log = logging.getLogger(__name__)

_ROWS = 8192
ITERATIONS = 200
"""Most steps of the logistic regression."""
LIGHTGBM: dict[str, Any] = {
    "objective": "binary",
    "num_iterations": 400,
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.3,
    "lambda_l2": 1.0,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}
SHALLOW: dict[str, Any] = {
    **LIGHTGBM,
    "num_iterations": 300,
    "learning_rate": 0.03,
    "num_leaves": 7,
    "feature_fraction": 0.1,
    "lambda_l2": 10.0,
}
"""Small trees of few features each: what an endpoint of some hundred positives can bear."""
FOREST: dict[str, Any] = {"n_estimators": 300, "max_features": "sqrt", "min_samples_leaf": 2}
LOGISTIC: dict[str, Any] = {"C": 0.01, "max_iter": ITERATIONS}
SETTINGS: dict[str, dict[str, Any]] = {"lightgbm": LIGHTGBM, "shallow": SHALLOW, "forest": FOREST, "logistic": LOGISTIC}


@dataclass(frozen=True)
class Problem:
    """One endpoint of one fold: molecules with a known label `rows` [k] of the training ones, labels [k], weights [k]."""

    rows: np.ndarray
    y: np.ndarray
    w: np.ndarray
    seed: int


Model = Callable[[np.ndarray], np.ndarray]
"""Features [m, F] to probabilities [m]."""


@dataclass(frozen=True)
class TableModel:
    """A table model by `name`; `pooled`: it sees the mean of the conformers' features too; `balanced`: classes weigh alike."""

    name: str
    pooled: bool = False
    balanced: bool = False
    seed: int = 0
    threads: int | None = None


def predict_fold(model: TableModel, fold: FoldData, rows: np.ndarray) -> np.ndarray:
    """Probabilities [m, T] of the molecules `rows` [m], by models of the fold's training molecules.

    An endpoint of which the training molecules show one class alone has its prevalence for all.
    """
    threads = model.threads or cpu_count()
    train, asked = (scaled_features(fold, of, model.pooled) for of in (fold.train, rows))
    fits = {"lightgbm": _lightgbm, "shallow": _lightgbm, "forest": _forest, "logistic": _logistic}
    models = fits[model.name](train, threads, SETTINGS[model.name])
    out = np.empty((len(rows), fold.bags.raw.y.shape[1]))
    for t in range(out.shape[1]):
        problem = _problem(fold, t, model.seed, model.balanced)
        if len(np.unique(problem.y)) < 2:
            log.warning("%s, endpoint %d: one class alone among its training molecules, nothing is learned", fold.label, t + 1)
            out[:, t] = fold.stats.prevalence[t]
            continue
        out[:, t] = models(problem)(asked)
    return out


def scaled_features(fold: FoldData, rows: np.ndarray, pooled: bool = False) -> np.ndarray:
    """2D features [n, F] float32 of the molecules `rows`, scaled as this fold scales them.

    `pooled`: beside them, [n, F + F3], the mean of their conformers' scaled features; 0 (the mean of all) where there are none.
    """
    bags = fold.bags
    out = np.empty((len(rows), bags.x2d.shape[1] + (bags.xinst.shape[1] if pooled else 0)), dtype=np.float32)
    for start in range(0, len(rows), _ROWS):
        batch = fold.batch(torch.from_numpy(rows[start : start + _ROWS]))
        parts = [batch.x2d.float()]
        if pooled:
            total = segment_sum(batch.xinst.float(), batch.segment, len(batch))
            parts.append(total / batch.offsets.diff().clamp_min(1).unsqueeze(1))
        out[start : start + _ROWS] = torch.cat(parts, dim=1).numpy()
    return out


def _problem(fold: FoldData, t: int, seed: int, balanced: bool) -> Problem:
    labels, weights = fold.bags.raw.y[fold.train, t], fold.bags.raw.w[fold.train, t].astype(np.float64)
    rows = np.flatnonzero(np.isfinite(labels))
    y, w = labels[rows], weights[rows]
    if balanced and 0 < y.sum() < len(y):
        w = w * np.where(y == 1, 0.5 * w.sum() / w[y == 1].sum(), 0.5 * w.sum() / w[y == 0].sum())
    return Problem(rows, y, w, stream_seed(seed, "baseline", fold.number, t) % 2**31)


def _lightgbm(train: np.ndarray, threads: int, settings: dict[str, Any]) -> Callable[[Problem], Model]:
    """The features are binned once, for all endpoints."""
    import lightgbm

    fixed = {**settings, "num_threads": threads}
    whole = lightgbm.Dataset(train, params=fixed, free_raw_data=False).construct()

    def fit(problem: Problem) -> Model:
        data = whole if len(problem.rows) == len(train) else whole.subset(problem.rows.tolist())
        data.set_label(problem.y).set_weight(problem.w)
        booster = lightgbm.train({**fixed, "seed": problem.seed}, data)
        return lambda x: np.asarray(booster.predict(x, num_threads=threads))

    return fit


def _forest(train: np.ndarray, threads: int, settings: dict[str, Any]) -> Callable[[Problem], Model]:
    from sklearn.ensemble import RandomForestClassifier

    def fit(problem: Problem) -> Model:
        forest = RandomForestClassifier(**settings, n_jobs=threads, random_state=problem.seed)
        forest.fit(_taken(train, problem.rows), problem.y, sample_weight=problem.w)
        return lambda x: np.asarray(forest.predict_proba(x))[:, 1]

    return fit


def _logistic(train: np.ndarray, threads: int, settings: dict[str, Any]) -> Callable[[Problem], Model]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def fit(problem: Problem) -> Model:
        model = LogisticRegression(**settings)
        # BLAS kernels now and then set the flag of an invalid value that is nowhere; what is fitted is looked at instead
        with warnings.catch_warnings(record=True) as said, _few_threads(threads), np.errstate(invalid="ignore"):
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(_taken(train, problem.rows), problem.y, sample_weight=problem.w)
        if not np.isfinite(model.coef_).all():
            raise DataError(
                "logistic regression", "its weights are NaN or infinite", do="scale the features, or use --impute median"
            )
        if any(issubclass(one.category, ConvergenceWarning) for one in said):
            log.info("logistic regression: stopped after %d steps, before it had converged", ITERATIONS)

        def predict(x: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return np.asarray(model.predict_proba(x))[:, 1]

        return predict

    return fit


def _few_threads(threads: int) -> Any:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)


def _taken(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """x[rows], not copied where these are all."""
    return x if len(rows) == len(x) else x[rows]


def plate_rates(plate: np.ndarray, y: np.ndarray, train: np.ndarray, rows: np.ndarray, prior: float = 10.0) -> np.ndarray:
    """What the plate alone tells of each endpoint, [m, T]: the rate of its training molecules, shrunk to the overall rate.

    plate [M] text, y [M, T] 0/1/NaN; the overall rate counts as `prior` further molecules of each plate.
    """
    names, code = np.unique(plate.astype(str), return_inverse=True)
    out = np.empty((len(rows), y.shape[1]))
    for t in range(y.shape[1]):
        known = train[np.isfinite(y[train, t])]
        size = np.bincount(code[known], minlength=len(names))
        positives = np.bincount(code[known], weights=y[known, t], minlength=len(names))
        rate = positives.sum() / max(size.sum(), 1)
        out[:, t] = ((positives + prior * rate) / (size + prior))[code[rows]]
    return out
