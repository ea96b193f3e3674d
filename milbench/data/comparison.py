"""Are two runs different? The same molecules drawn for both, a thousand times over."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from milbench.data.bootstrap import interval, plain, resampled
from milbench.data.results import Result, shared
from milbench.data.scoring import check_draws, check_predicted, rank
from milbench.progress import counted
from milbench.seeds import stream

MACRO = "macro mean"
_METRICS = ("AP", "ROC-AUC")


@dataclass(frozen=True)
class Comparison:
    """Run `b` against run `a`.

    table: one row an endpoint (and the mean over those with a score, `MACRO`) and metric: endpoint, metric, n, positives, a, b,
    difference (b − a), low, high, draws (those in which both have a score), distinguishable (the interval has no zero in it).
    notes: what was left out, and whether the runs are of different folds, in words.
    """

    a: str
    b: str
    table: pd.DataFrame
    level: float
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Molecules that both runs predicted."""
        return int(self.table["n"].iloc[-1])

    def lines(self) -> list[str]:
        """One sentence an endpoint and metric."""
        head = f"{self.b} against {self.a}, {self.n:,} molecules, {self.level:.0%} intervals of the difference"
        rows: list[Any] = list(self.table.itertuples())
        return [head, *(f"{row.endpoint}: {row.metric} {verdict(row)}" for row in rows), *self.notes]


def verdict(row: Any) -> str:
    """A row of a comparison in words."""
    if not np.isfinite(row.low):
        return "has no score in one of the runs"
    said = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
    return said if row.distinguishable else f"{said}, not distinguishable"


def compare(a: Result, b: Result, *, draws: int = 1000, level: float = 0.95, seed: int = 0) -> Comparison:
    """Paired bootstrap over the molecules that both runs predicted: every draw scores the same molecules for both.

    Endpoints are drawn together, so that the macro mean has an interval too. The level holds for each comparison alone: of
    twenty runs that do not differ, one is expected to seem to.
    """
    check_draws(draws, level)
    one, other, notes = shared(a, b)
    rankings = []
    for result in (one, other):
        check_predicted(result.y, result.p)
        rankings += rank(result.y, result.p, result.weights)
    t, n = len(one.names), len(one.ids)
    points = [np.array(v).reshape(2, t, 1) for v in zip(*(r.score([np.arange(n)]) for r in rankings), strict=True)]
    with counted("comparison", draws * len(rankings)) as heard:
        drawn = [v.reshape(2, t, draws) for v in resampled(rankings, plain(n, stream(seed, "compare", n)), draws, heard)]
    known, positives = np.isfinite(one.y).sum(axis=0), (one.y == 1).sum(axis=0)
    base = {"endpoint": [*one.names, MACRO], "n": [*known, n], "positives": [*positives, positives.sum()]}
    parts = [_rows(base, metric, p, d, level) for metric, p, d in zip(_METRICS, points, drawn, strict=True)]
    return Comparison(a.title, b.title, pd.concat(parts, ignore_index=True), level, notes)


def _rows(base: dict[str, list], metric: str, points: np.ndarray, drawn: np.ndarray, level: float) -> pd.DataFrame:
    """Rows of one metric; points [2, T, 1], drawn [2, T, S]."""
    scored = np.asarray(np.isfinite(points).all(axis=(0, 2)))
    (a, b), draws = _with_macro(points, scored)[..., 0], _with_macro(drawn, scored)
    difference = draws[1] - draws[0]
    low, high = interval(difference, level).T
    values = {"a": a, "b": b, "difference": b - a, "low": low, "high": high, "draws": np.isfinite(difference).sum(axis=1)}
    frame = pd.DataFrame({**base, "metric": metric, **values})
    return frame.assign(distinguishable=(frame["low"] > 0) | (frame["high"] < 0))


def _with_macro(scores: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """[2, T, S] → [2, T + 1, S]: with the mean over the tasks that are `scored`; a draw without one of them has none."""
    macro = scores[:, scored].mean(axis=1) if scored.any() else np.full((2, scores.shape[2]), np.nan)
    return np.concatenate([scores, macro[:, None]], axis=1)
