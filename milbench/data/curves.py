"""What lies behind a score: every threshold of one endpoint, its calibration, where its scores lie."""

import numpy as np
import pandas as pd

_Z = 1.959963984540054
"""97.5 % of a normal distribution: intervals of 95 %."""


def thresholds(y: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None, most: int = 600) -> pd.DataFrame:
    """Every cut of one endpoint's scores, the highest first: threshold (a molecule counts as positive at or above it), tp, fp,
    fn, tn, precision, recall, fpr; precision and recall are weighted where weights are given, as its AP is.

    y [n] 0/1 with NaN where missing (left out), p [n], weights [n]. Above `most` rows they are thinned, the first finest.
    """
    known = np.isfinite(y)
    y, p, w = y[known], p[known], (np.ones(known.sum()) if weights is None else weights[known])
    order = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.diff(p[order], append=-np.inf))  # the last molecule of every distinct score
    last = last[_thinned(len(last), most)]
    sums = {name: np.cumsum(v[order])[last] for name, v in {"tp": y, "fp": 1 - y, "wtp": w * y, "w": w}.items()}
    frame = pd.DataFrame({"threshold": p[order][last], "tp": sums["tp"].astype(int), "fp": sums["fp"].astype(int)})
    positives, negatives = int(y.sum()), int((1 - y).sum())
    frame = frame.assign(fn=positives - frame["tp"], tn=negatives - frame["fp"])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = {"precision": sums["wtp"] / sums["w"], "recall": sums["wtp"] / (w * y).sum(), "fpr": sums["fp"] / negatives}
    return frame.assign(**ratios)


def _thinned(n: int, most: int) -> np.ndarray:
    """At most about `most` of n places: half of them spread over all, half crowding at the beginning; first and last stay."""
    if n <= most:
        return np.arange(n)
    even, crowded = np.linspace(0, n - 1, most // 2), np.geomspace(1, n, most // 2) - 1
    return np.unique(np.concatenate([even, crowded]).astype(np.int64))


def confusion(y: np.ndarray, p: np.ndarray, threshold: float) -> dict[str, int]:
    """tp, fp, fn, tn of the labelled molecules, positive at or above the threshold; y, p [n]."""
    known, called = np.isfinite(y), p >= threshold
    cells = {"tp": (y == 1) & called, "fp": (y == 0) & called, "fn": (y == 1) & ~called, "tn": (y == 0) & ~called}
    return {name: int((cell & known).sum()) for name, cell in cells.items()}


def outcome(y: np.ndarray, p: np.ndarray, threshold: float) -> np.ndarray:
    """TP, FP, FN, TN of each molecule as text [n], "" where the label is missing."""
    called = p >= threshold
    names = np.where(y == 1, np.where(called, "TP", "FN"), np.where(called, "FP", "TN"))
    return np.where(np.isfinite(y), names, "").astype(object)


def best_threshold(table: pd.DataFrame) -> float:
    """The threshold with the largest F1 (of precision and recall) among `thresholds`."""
    precision, recall = table["precision"].to_numpy(), table["recall"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall), nan=-1.0)
    return float(table["threshold"].iloc[int(f1.argmax())])


def calibration(y: np.ndarray, p: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Predicted against observed in bins of about equal size: n, predicted (mean), observed (share), low, high (95 %, Wilson).

    y [n] 0/1 with NaN where missing (left out), p [n] probabilities. Equal scores stay in one bin, so there may be fewer.
    """
    known = np.isfinite(y)
    y, p = y[known], p[known]
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1])) if len(p) else np.empty(0)
    frame = pd.DataFrame({"bin": np.searchsorted(edges, p, "right"), "y": y, "p": p})
    table = frame.groupby("bin").agg(n=("y", "size"), predicted=("p", "mean"), observed=("y", "mean")).reset_index(drop=True)
    low, high = wilson(table["observed"].to_numpy() * table["n"].to_numpy(), table["n"].to_numpy())
    return table.assign(low=low, high=high)


def wilson(hits: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share, `hits` of `n`; [0, 1] of nothing."""
    n = np.maximum(n, 1e-12)
    share, spread = hits / n, _Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * np.sqrt(share * (1 - share) / n + spread / (4 * n))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def histogram(y: np.ndarray, p: np.ndarray, bins: int = 40) -> pd.DataFrame:
    """Molecules by score: low, high of each bin, positives, negatives in it; y [n] 0/1/NaN (left out), p [n] in 0..1."""
    edges = np.linspace(0, 1, bins + 1)
    counts = {name: np.histogram(p[y == label], edges)[0] for name, label in (("positives", 1), ("negatives", 0))}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **counts})
