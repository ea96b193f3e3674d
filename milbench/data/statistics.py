"""What a fold learns before training starts: scaling, prevalences, label patterns. Frozen values, compared with ==."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from milbench.data.bending import fit_quantiles, normal_scores, signed_log
from milbench.data.targets import bitmasks
from milbench.features import Scaling

_CELLS = 262_144
"""Values that are looked at together: in float64 2 MiB, which stay in the cache."""
_FLAT = 1e-7
"""A spread below this share of the column's magnitude is float32 noise: the column counts as constant."""


class _ByValue:
    """Equality by content, bit for bit, of dataclasses that hold arrays."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


@dataclass(frozen=True, eq=False)
class Scaler(_ByValue):
    """Column statistics, float32 [F]: x -> (x - mean) / scale, after NaN and inf became `fill` where imputing is on.

    Heavy tails are bent before: `log` [F] bool, columns that become sign(x)·log(1 + |x|); or `knots`, `scores` [F, K],
    quantiles and what becomes of them. `clip` [1]: the limit of the standardised values.
    """

    mean: np.ndarray
    scale: np.ndarray
    fill: np.ndarray | None = None
    log: np.ndarray | None = None
    knots: np.ndarray | None = None
    scores: np.ndarray | None = None
    clip: np.ndarray | None = None

    @property
    def scaling(self) -> Scaling:
        """How it scales."""
        kind = "signed_log" if self.log is not None else "standard" if self.knots is None else "quantile"
        return Scaling(kind, 0.0 if self.clip is None else float(self.clip[0]))

    def apply(self, x: Tensor) -> Tensor:
        """Standardise x [n, F] in place (x is a fresh copy) and return it."""
        return self.on(x.device).apply(x)

    def beyond(self, x: Tensor) -> np.ndarray:
        """Which values of x [n, F] are clipped, bool [n, F]."""
        limit = np.inf if self.clip is None else float(self.clip[0])
        free = dataclasses.replace(self, clip=None)
        return (free.apply(x.clone()).abs() > limit).cpu().numpy()

    def on(self, device: torch.device) -> "DeviceScaler":
        """The same statistics on a device."""
        arrays = (getattr(self, name) for name in DeviceScaler._fields)
        return DeviceScaler(*(None if a is None else torch.from_numpy(a).to(device) for a in arrays))  # type: ignore[arg-type]


class DeviceScaler(NamedTuple):
    """A `Scaler` where the features are, so that a batch sends nothing there."""

    mean: Tensor
    scale: Tensor
    fill: Tensor | None = None
    log: Tensor | None = None
    knots: Tensor | None = None
    scores: Tensor | None = None
    clip: Tensor | None = None

    def on(self, device: torch.device) -> "DeviceScaler":
        """The same statistics on a device."""
        return DeviceScaler(*(None if x is None else x.to(device) for x in self))  # type: ignore[arg-type]

    def apply(self, x: Tensor) -> Tensor:
        """Standardise x [n, F] in place (x is a fresh copy) and return it."""
        if self.fill is not None:
            x = torch.where(torch.isfinite(x), x, self.fill)
        x = self.bend(x).sub_(self.mean).div_(self.scale)
        return x if self.clip is None else x.clamp_(-self.clip, self.clip)

    def bend(self, x: Tensor) -> Tensor:
        """x [n, F] with its heavy tails made short, where that was asked for."""
        if self.log is not None:
            return torch.where(self.log, signed_log(x), x)
        if self.knots is not None and self.scores is not None:
            return normal_scores(x, self.knots.to(x.dtype), self.scores.to(x.dtype))
        return x


def _chunks(x: Tensor | np.ndarray, rows: np.ndarray, bend: Scaler, impute: bool) -> Iterator[np.ndarray]:
    """x[rows] bent, in float64, stretch by stretch; what is not finite is NaN when `impute`."""
    step, bends = max(1, _CELLS // max(x.shape[1], 1)), bend.on(torch.device("cpu"))
    for start in range(0, len(rows), step):
        part = np.asarray(x[rows[start : start + step]], dtype=np.float64)
        if impute:
            part[~np.isfinite(part)] = np.nan
        yield bends.bend(torch.from_numpy(part)).numpy()


def _bend(x: Tensor, rows: np.ndarray, scaling: Scaling, impute: bool) -> Scaler:
    """A scaler that only bends."""
    width = x.shape[1]
    mean, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
    log = np.ones(width, dtype=bool) if scaling.kind == "signed_log" else None
    knots, scores = fit_quantiles(x, rows, impute) if scaling.kind == "quantile" else (None, None)
    clip = np.array([scaling.clip], np.float32) if scaling.clip else None
    return Scaler(mean, scale, None, log, knots, scores, clip)


def fit_scaler(x: Tensor, rows: np.ndarray, *, impute: bool = False, scaling: Scaling | None = None) -> Scaler:
    """Mean and standard deviation of x[rows], in float64, chunk by chunk; constant columns get scale 1.

    x [n, F]; non-finite values are left out of every statistic when `impute` (they become the median), and make the
    statistics NaN otherwise, which the caller reports. `scaling`: what is done to heavy tails (None: nothing).
    """
    bend = _bend(x, rows, scaling or Scaling(), impute)
    width = x.shape[1]
    count, total = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for part in _chunks(x, rows, bend, impute):
        count += np.isfinite(part).sum(axis=0) if impute else len(part)
        total += np.nansum(part, axis=0) if impute else part.sum(axis=0)
        low, high = np.fmin(low, np.fmin.reduce(part)), np.fmax(high, np.fmax.reduce(part))
    mean = total / np.maximum(count, 1)
    squares = np.zeros(width)
    for part in _chunks(x, rows, bend, impute):
        with np.errstate(invalid="ignore"):  # inf - inf: the NaN is what the caller reports
            squares += (np.nansum if impute else np.sum)((part - mean) ** 2, axis=0)
    std = np.sqrt(squares / np.maximum(count, 1))
    flat = (count == 0) | (high <= low) | (std <= _FLAT * np.abs(mean))
    scale = np.where(flat, 1.0, std)
    fill = _medians(x, rows) if impute else None
    return dataclasses.replace(bend, mean=mean.astype(np.float32), scale=scale.astype(np.float32), fill=fill)


def count_clipped(scaler: Scaler, x: Tensor, rows: np.ndarray) -> tuple[int, int]:
    """How many values of x[rows] the scaler clips, and in how many columns."""
    step, by_column = max(1, _CELLS // max(x.shape[1], 1)), np.zeros(x.shape[1], dtype=np.int64)
    for start in range(0, len(rows) if scaler.clip is not None else 0, step):
        by_column += scaler.beyond(x[rows[start : start + step]].float()).sum(axis=0)
    return int(by_column.sum()), int((by_column > 0).sum())


def _medians(x: Tensor, rows: np.ndarray) -> np.ndarray:
    """Median of the finite values of each column of x[rows], float32 [F]; 0 where there is none."""
    out = np.zeros(x.shape[1], dtype=np.float32)
    for j in range(x.shape[1]):
        column = np.asarray(x[rows, j], dtype=np.float64)
        finite = column[np.isfinite(column)]
        out[j] = np.median(finite) if finite.size else 0.0
    return out


def fit_target_scale(values: np.ndarray) -> Scaler:
    """Mean and standard deviation of each auxiliary over its known values (constant ones get scale 1).

    values [n, A] with NaN where missing.
    """
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0).astype(np.float64)
    mean = filled.sum(axis=0) / count
    std = np.sqrt((np.where(known, filled - mean, 0) ** 2).sum(axis=0) / count)
    return Scaler(mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class FoldStats(_ByValue):
    """Everything fitted for one fold, on its training molecules alone.

    Scalers of x2d and xinst (None: prescaled), abs and fluo; known positives and negatives [T]; label patterns: ids [P] and
    counts [P], by id.
    """

    scale2d: Scaler | None
    scale_inst: Scaler | None
    scale_abs: Scaler
    scale_fluo: Scaler
    positives: np.ndarray
    negatives: np.ndarray
    mask_ids: np.ndarray
    mask_counts: np.ndarray

    @property
    def prevalence(self) -> np.ndarray:
        """Share of positives among known labels, [T]; 0 where no label is known."""
        return self.positives / np.maximum(self.positives + self.negatives, 1)


def label_statistics(y: np.ndarray) -> dict[str, np.ndarray]:
    """Positives and negatives [T] and label-pattern counts of y [n, T] (0/1/NaN)."""
    masks = bitmasks(y)
    ids, counts = np.unique(masks[masks >= 0], return_counts=True)
    return {
        "positives": (y == 1).sum(axis=0).astype(np.int64),
        "negatives": (y == 0).sum(axis=0).astype(np.int64),
        "mask_ids": ids.astype(np.int64),
        "mask_counts": counts.astype(np.int64),
    }
