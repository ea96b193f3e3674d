"""Heavy tails made short before standardising: a signed logarithm, or the training molecules' quantiles as normal scores."""

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

KNOTS = 257
"""Quantiles that a column is described by; the outermost become ±2.9."""
_BLOCK = 64


def signed_log(x: Tensor) -> Tensor:
    """sign(x) · log(1 + |x|)."""
    return torch.sign(x) * torch.log1p(x.abs())


def fit_quantiles(x: Tensor | np.ndarray, rows: np.ndarray, impute: bool) -> tuple[np.ndarray, np.ndarray]:
    """The distinct quantiles of each column of x[rows] and their normal scores, both float32 [F, KNOTS], the last repeated.

    A value that fills several quantiles has the score of their middle, so a binary column stays one. A column with a value that
    is not finite is NaN, unless `impute`: then such values are left out.
    """
    width = x.shape[1]
    knots, scores = np.zeros((2, width, KNOTS), dtype=np.float32)
    for start in range(0, width, _BLOCK):
        block = np.asarray(x[:, start : start + _BLOCK][rows], dtype=np.float32)
        for j, column in enumerate(block.T, start):
            knots[j], scores[j] = _column(column, impute)
    return knots, scores


def _column(values: np.ndarray, impute: bool) -> tuple[np.ndarray, np.ndarray]:
    finite = values[np.isfinite(values)]
    if len(finite) < len(values) and not impute:
        return np.full(KNOTS, np.nan), np.full(KNOTS, np.nan)
    if not len(finite):
        return np.zeros(KNOTS), np.zeros(KNOTS)
    marks = np.quantile(finite, np.linspace(0, 1, KNOTS), method="inverted_cdf")
    distinct, first, count = np.unique(marks, return_index=True, return_counts=True)
    edge = 0.5 / (KNOTS - 1)
    score = ndtri(np.clip((first + (count - 1) / 2) / (KNOTS - 1), edge, 1 - edge))
    pad = (0, KNOTS - len(distinct))
    return np.pad(distinct, pad, mode="edge"), np.pad(score, pad, mode="edge")


def normal_scores(x: Tensor, knots: Tensor, scores: Tensor) -> Tensor:
    """x [n, F] by straight lines between knots [F, K] and their scores; beyond the outermost it stays at their scores."""
    columns = x.T.contiguous()
    upper = torch.searchsorted(knots, columns, right=True).clamp_(1, knots.shape[1] - 1)
    low, high = knots.gather(1, upper - 1), knots.gather(1, upper)
    share = torch.where(high > low, (columns - low) / (high - low), (columns > low).to(columns.dtype)).clamp_(0, 1)
    share = torch.where(torch.isnan(columns), columns, share)
    return torch.lerp(scores.gather(1, upper - 1), scores.gather(1, upper), share).T.contiguous()
