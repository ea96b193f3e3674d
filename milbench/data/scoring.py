"""Scores of any file of predictions and labels: ROC-AUC and AP per endpoint, each with a stratified bootstrap interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from milbench.data.tables import Table
from milbench.errors import ConfigError, DataError
from milbench.seeds import stream
from milbench.tasks import TaskSet

_CELLS = 4_000_000
"""Largest table of a block of bootstrap draws, in cells (32 MB)."""


@dataclass(frozen=True)
class Scores:
    """Scores of T endpoints: ap, auc [T]; ap_range, auc_range [T, 2], percentile bootstrap; n, positives [T].

    NaN where an endpoint has no positive (or, for AUC, no negative). `level`: coverage; `left_out`: what was not used.
    """

    names: tuple[str, ...]
    n: np.ndarray
    positives: np.ndarray
    ap: np.ndarray
    ap_range: np.ndarray
    auc: np.ndarray
    auc_range: np.ndarray
    level: float
    left_out: tuple[str, ...] = ()

    @property
    def undefined(self) -> tuple[str, ...]:
        """Endpoints without any known positive."""
        return tuple(name for name, count in zip(self.names, self.positives, strict=True) if not count)

    def table(self) -> pd.DataFrame:
        """One row an endpoint."""
        return pd.DataFrame(
            {
                "endpoint": self.names,
                "n": self.n,
                "positives": self.positives,
                "ap": self.ap,
                "ap_low": self.ap_range[:, 0],
                "ap_high": self.ap_range[:, 1],
                "auc": self.auc,
                "auc_low": self.auc_range[:, 0],
                "auc_high": self.auc_range[:, 1],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        tasks = {row.pop("endpoint"): row for row in self.table().to_dict("records")}
        return {"level": self.level, "tasks": tasks, "undefined": list(self.undefined), "left_out": list(self.left_out)}

    def lines(self) -> list[str]:
        """The table in words, with n, positives and prevalence beside every score."""
        width = max(len(name) for name in self.names)
        head = f"{'endpoint':<{width}}  {'n':>7}  {'positives':>9}  {'prevalence':>10}"
        lines = [f"{head}  {'AP':<21}  ROC-AUC   [{self.level:.0%} intervals]"]
        for t, name in enumerate(self.names):
            share = f"{self.positives[t] / self.n[t]:.3%}" if self.n[t] else "–"
            ap, auc = _cell(self.ap[t], self.ap_range[t]), _cell(self.auc[t], self.auc_range[t])
            lines.append(f"{name:<{width}}  {self.n[t]:>7}  {self.positives[t]:>9}  {share:>10}  {ap:<21}  {auc}")
        lines.append(f"macro AP {_mean(self.ap)}, macro ROC-AUC {_mean(self.auc)}")
        if self.undefined:
            lines.append(f"no positive of {', '.join(self.undefined)}: no score, left out of the macro means")
        return [*lines, *self.left_out]


def _cell(value: float, bounds: np.ndarray) -> str:
    return "–" if np.isnan(value) else f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _mean(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{known.mean():.3f}" if known.size else "–"


def score(
    y: np.ndarray, p: np.ndarray, names: Sequence[str], *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Scores:
    """AP and ROC-AUC with percentile intervals of a bootstrap that draws positives and negatives apart (their counts stay).

    y [n, T] 0/1 with NaN where missing (left out), p [n, T] finite scores, higher = more likely positive. Unweighted. Ties
    count half in the AUC and stand at one threshold in the AP, as in scikit-learn. An endpoint without positives is NaN.
    """
    if draws < 100 or not 0 < level < 1:
        raise ConfigError("bootstrap", got=f"{draws} draws, level {level}", want="100 draws or more, a level between 0 and 1")
    shape = len(names)
    ap, auc, bounds = np.full(shape, np.nan), np.full(shape, np.nan), np.full((shape, 2, 2), np.nan)
    known = np.isfinite(y)
    if not np.isfinite(p[known]).all():
        raise DataError("predictions", "NaN or inf", do="every labelled molecule needs a finite prediction")
    for t, name in enumerate(names):
        positive, negative = p[y[:, t] == 1, t], p[y[:, t] == 0, t]
        if not len(positive):
            continue
        counts = _counts(positive, negative)
        ap[t], auc[t] = (float(values[0]) for values in _scores(*(part[None] for part in counts)))
        drawn = _bootstrap(counts, draws, stream(seed, "bootstrap", name))
        tails = [(1 - level) / 2, (1 + level) / 2]
        bounds[t] = [np.quantile(values, tails) for values in drawn]
    positives = (y == 1).sum(axis=0)
    return Scores(tuple(names), known.sum(axis=0), positives, ap, bounds[:, 0], auc, bounds[:, 1], level)


def _counts(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives at each of their G distinct scores, ascending [G]; negatives between and at these [2G + 1]."""
    at, count = np.unique(positive, return_counts=True)
    place = np.searchsorted(at, negative, "left") + np.searchsorted(at, negative, "right")
    return count, np.bincount(place, minlength=2 * len(at) + 1)


def _scores(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AP and AUC [S] of S sets given as counts: positive [S, G], negative [S, 2G + 1] (see `_counts`)."""
    n_pos, n_neg = positive.sum(axis=1), negative.sum(axis=1)
    above = np.cumsum(negative[:, ::-1], axis=1)[:, ::-1]  # negatives at or above each cell
    at_or_above, pos_above = above[:, 1::2], np.cumsum(positive[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(positive > 0, pos_above / (pos_above + at_or_above), 0)
        below = n_neg[:, None] - at_or_above + 0.5 * negative[:, 1::2]
        auc = (positive * below).sum(axis=1) / (n_pos * n_neg)
    return (positive * precision).sum(axis=1) / n_pos, auc


def _resampled(counts: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Counts of `size` draws with replacement, [size, cells]; nothing to draw from gives zeros."""
    total = counts.sum()
    return rng.multinomial(total, counts / max(total, 1), size=size) if total else np.zeros((size, len(counts)), np.int64)


def _bootstrap(counts: tuple[np.ndarray, np.ndarray], draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """AP and AUC [draws] of resampled positives and negatives, block by block."""
    positive, negative = counts
    block = max(1, _CELLS // len(negative))
    parts = []
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = (_resampled(total, size, rng) for total in (positive, negative))
        parts.append(_scores(*drawn))
    ap, auc = (np.concatenate(values) for values in zip(*parts, strict=True))
    return ap, auc


def score_tables(predictions: Table, labels: Table | None, tasks: TaskSet, **options: Any) -> Scores:
    """Score a table of predictions against a table of labels, joined on ID.

    predictions: ID and `pred_<endpoint>` (or `<endpoint>`); a molecule may stand on several rows (one a conformer) if they
    agree. labels: ID and the endpoints' label columns; None takes the `label_<endpoint>` columns beside the predictions, as
    `milbench run` writes them. Labelled molecules without a prediction are left out with a count; `options` as in `score`.
    """
    ids, p = by_molecule(predictions, [(f"pred_{name}", name) for name in tasks.names])
    truth = predictions if labels is None else labels
    own = [(f"label_{name}",) for name in tasks.names]
    columns = own if labels is None else [(e.label, *other) for e, other in zip(tasks.endpoints, own, strict=True)]
    labelled, y = by_molecule(truth, columns)
    rows = pd.Index(ids).get_indexer(pd.Index(labelled))
    if (rows < 0).all():
        raise DataError(predictions.source, f"shares no ID with {truth.source}", got=ids[0], want=f"IDs like {labelled[0]!r}")
    wrong = np.argwhere(np.isfinite(y) & (y != 0) & (y != 1))
    if len(wrong):
        row, t = (int(place) for place in wrong[0])
        raise DataError(truth.source, f"ID {labelled[row]}", column=tasks.names[t], got=float(y[row, t]), want="0, 1 or empty")
    without = int((np.isfinite(y).any(axis=1) & (rows < 0)).sum())
    scores = score(y[rows >= 0], p[rows[rows >= 0]], tasks.names, **options)
    said = f"{without} labelled molecules have no prediction and are left out"
    return replace(scores, left_out=(said,)) if without else scores


def by_molecule(table: Table, columns: Sequence[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """IDs [n] and the first column there is of each group [n, T]; rows that repeat an ID must agree."""
    ids = table.text("ID")
    chosen = [next((name for name in names if name in table.names), names[0]) for names in columns]
    values = np.stack([table.numbers(name) for name in chosen], axis=1)
    code, unique = pd.factorize(ids)
    first = np.unique(code, return_index=True)[1]
    same = (values == values[first][code]) | (np.isnan(values) & np.isnan(values[first][code]))
    if not same.all():
        row, t = (int(place) for place in np.argwhere(~same)[0])
        raise DataError(table.source, f"two values for ID {ids[row]}", row=table.row(row), column=chosen[t], do="keep one")
    return np.asarray(unique, dtype=object), values[first]
