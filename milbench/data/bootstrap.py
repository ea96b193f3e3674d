"""AP and ROC-AUC of a thousand resampled data sets in a second: molecules are counted by place, never sorted again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_CELLS = 1_000_000
"""Largest table of a block of draws, in cells (8 MB): larger ones leave the cache."""
Heard = Callable[[int], None]
"""Called with how many samples of one ranking were scored since it was called before."""


@dataclass(frozen=True)
class Ladder:
    """Where n molecules stand among the distinct scores of the positives of one endpoint, the G `steps`, ascending.

    cell [n]: step g of a positive; of a negative G + 2g below step g (and above g - 1) and G + 2g + 1 at it; 3G + 1 of a
    molecule whose label is missing.
    """

    cell: np.ndarray
    steps: int

    @classmethod
    def of(cls, y: np.ndarray, p: np.ndarray) -> "Ladder":
        """y [n] 0/1 with NaN where missing, p [n] finite where y is known."""
        steps = np.unique(p[y == 1])
        left, right = (np.searchsorted(steps, p, side) for side in ("left", "right"))
        cell = np.where(y == 1, left, len(steps) + left + right)
        return cls(np.where(np.isfinite(y), cell, 3 * len(steps) + 1).astype(np.int32), len(steps))

    def counts(self, rows: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """How many (or how much) of the molecules `rows` stands in each cell [3G + 1]."""
        drawn = None if weights is None else weights.take(rows)
        return np.bincount(self.cell.take(rows), drawn, minlength=3 * self.steps + 2)[:-1]


@dataclass(frozen=True)
class Ranking:
    """One endpoint as one run ranks it: its ladder, and the weights [n] of its AP (None: unweighted)."""

    ladder: Ladder
    weights: np.ndarray | None = None

    def score(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """AP and AUC [S] of S samples, each an array of places; NaN where a sample has no positive (AUC: or no negative)."""
        counts = np.array([self.ladder.counts(sample) for sample in rows], dtype=np.float64)
        weighted = counts if self.weights is None else np.array([self.ladder.counts(s, self.weights) for s in rows])
        return average_precision(weighted, self.ladder.steps), roc_auc(counts, self.ladder.steps)


def average_precision(counts: np.ndarray, steps: int) -> np.ndarray:
    """AP [S] of counts (or weights) by cell [S, 3G + 1], ties at one threshold as in scikit-learn; NaN without positives."""
    positive, negative = counts[:, :steps], counts[:, steps:]
    true, false = _at_or_above(positive), _at_or_above(negative)[:, 1::2]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(positive > 0, true / (true + false), 0)
        return (positive * precision).sum(axis=1) / positive.sum(axis=1)


def roc_auc(counts: np.ndarray, steps: int) -> np.ndarray:
    """ROC-AUC [S] of counts by cell [S, 3G + 1], ties counting half; NaN without positives or negatives."""
    positive, negative = counts[:, :steps], counts[:, steps:]
    total = negative.sum(axis=1)
    below = total[:, None] - _at_or_above(negative)[:, 1::2] + 0.5 * negative[:, 1::2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive * below).sum(axis=1) / (positive.sum(axis=1) * total)


def _at_or_above(cells: np.ndarray) -> np.ndarray:
    return np.cumsum(cells[:, ::-1], axis=1)[:, ::-1]


def stratified(y: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Samples without end that draw the positives and the negatives of y [n] apart: their counts stay."""
    parts = [np.flatnonzero(y == label) for label in (1, 0)]
    while True:
        yield np.concatenate([part.take(_draw(len(part), rng)) for part in parts])


def plain(n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Samples without end of n molecules among n."""
    while True:
        yield _draw(n, rng)


def _draw(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, max(n, 1), n, dtype=np.int32)


def resampled(
    rankings: Sequence[Ranking], samples: Iterator[np.ndarray], draws: int, heard: Heard
) -> tuple[np.ndarray, np.ndarray]:
    """AP and AUC [L, draws] of L rankings of the same molecules, every draw the same molecules for all of them."""
    ap, auc = np.empty((len(rankings), draws)), np.empty((len(rankings), draws))
    block = max(1, _CELLS // max(len(r.ladder.cell) + 3 * r.ladder.steps for r in rankings))
    for start in range(0, draws, block):
        rows = [next(samples) for _ in range(min(block, draws - start))]
        for i, ranking in enumerate(rankings):
            ap[i, start : start + len(rows)], auc[i, start : start + len(rows)] = ranking.score(rows)
            heard(len(rows))
    return ap, auc


def interval(values: np.ndarray, level: float) -> np.ndarray:
    """Percentile interval [..., 2] of draws [..., S]; draws without a score are left out, NaN where most have none."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    enough = np.isfinite(values).mean(axis=-1, keepdims=True) > 0.5
    return np.moveaxis(np.nanquantile(np.where(enough, values, 0), tails, axis=-1), 0, -1) + np.where(enough, 0, np.nan)
