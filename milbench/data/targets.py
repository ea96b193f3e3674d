"""Labels, weights and auxiliaries of molecules: as they were read, and as a fold trains on them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from milbench.data.labelled import label_column
from milbench.data.tables import Report, Table
from milbench.errors import ConfigError, DataError
from milbench.tasks import AuxTarget, TaskSet

IGNORED_GROUP = -100
"""The pattern class of a molecule whose label pattern is not fully known."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class RawTargets:
    """As read, nothing fitted: y [M, T] 0/1 with NaN where missing, w [M, T] >= 0; abs [M, A] and fluo [M, F] with NaN where
    missing, their weights w_abs [M, A] and w_fluo [M, F]. All float32.
    """

    y: np.ndarray
    w: np.ndarray
    abs: np.ndarray
    w_abs: np.ndarray
    fluo: np.ndarray
    w_fluo: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Which labels are known, bool [M, T]."""
        return np.isfinite(self.y)

    def take(self, rows: np.ndarray) -> "RawTargets":
        """These molecules."""
        return RawTargets(*(getattr(self, f.name)[rows] for f in fields(self)))

    def of(self, own: Sequence[str], wanted: Sequence[str]) -> "RawTargets":
        """Labels and weights of the endpoints `wanted`, out of those of `own`; one that is not there has no label, weight 0."""
        place = [own.index(name) if name in own else len(own) for name in wanted]
        y, w = (np.pad(x, ((0, 0), (0, 1)), constant_values=nothing) for x, nothing in ((self.y, np.nan), (self.w, 0)))
        return dataclasses.replace(self, y=y[:, place], w=w[:, place])


@dataclass(frozen=True)
class Targets:
    """What a loss reads of B molecules. A missing label has y = 0, known = False and w = 0.

    y, w [B, T], known [B, T] bool; abs, w_abs [B, A], has_abs [B, A] bool and fluo likewise [B, F], both standardised on the
    training molecules; group [B] int64, the label-pattern class or -100.
    """

    y: Tensor
    known: Tensor
    w: Tensor
    abs: Tensor
    has_abs: Tensor
    w_abs: Tensor
    fluo: Tensor
    has_fluo: Tensor
    w_fluo: Tensor
    group: Tensor

    def take(self, index: Tensor | slice) -> "Targets":
        """These molecules [B]."""
        return Targets(*(getattr(self, f.name)[index] for f in fields(self)))

    def on(self, device: torch.device) -> "Targets":
        """The same on a device."""
        return Targets(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


def bitmasks(y: np.ndarray) -> np.ndarray:
    """Label pattern Σ y_t·2^t of each molecule, int64 [M]; -1 where a label is missing (seed 4.3). y [M, T] 0/1/NaN."""
    bits = np.left_shift(np.int64(1), np.arange(y.shape[1], dtype=np.int64))
    ids = (np.nan_to_num(y, nan=0.0).astype(np.int64) * bits).sum(axis=1)
    return np.where(np.isfinite(y).all(axis=1), ids, -1)


def read_targets(table: Table, tasks: TaskSet, labels_missing: str, report: Report) -> RawTargets:
    """Labels, weights and auxiliaries of `tasks` from the labels table.

    A label column is required; weight and auxiliary columns may be absent (weight 1; that auxiliary off, said once).
    `labels_missing`: "mask" keeps a missing label missing, "negative" makes it 0 (the seed's behaviour), with a count.
    """
    if labels_missing not in {"mask", "negative"}:
        raise ConfigError("--labels-missing", got=labels_missing, want="mask or negative")
    y = np.stack([label_column(table, endpoint.label).astype(np.float32) for endpoint in tasks.endpoints], axis=1)
    missing = int(np.isnan(y).sum())
    if missing:
        said = "counted as negative" if labels_missing == "negative" else "left out of loss, metrics and sampler"
        report.say(f"{table.source}: {missing} missing labels, {said}")
    if labels_missing == "negative":
        y = np.where(np.isnan(y), np.float32(0), y)
    w = np.stack([_weights(table, e.weight, np.isfinite(y[:, t])) for t, e in enumerate(tasks.endpoints)], axis=1)
    values_abs, w_abs = _aux(table, tasks.aux_abs, "absorbance", report)
    values_fluo, w_fluo = _aux(table, tasks.aux_fluo, "fluorescence", report)
    return RawTargets(y, w, values_abs, w_abs, values_fluo, w_fluo)


def _weights(table: Table, column: str | None, used: np.ndarray) -> np.ndarray:
    """float32 [M]; absent counts as 1, and a missing weight is an error only where it would be used."""
    if column is None or column not in table.names:
        return np.ones(len(table), dtype=np.float32)
    values = table.numbers(column)
    wrong = np.flatnonzero(used & ~((values >= 0) & (values <= _LARGEST)))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(table.source, row=table.row(row), column=column, got=float(values[row]), want="a weight of 0 or more")
    return np.where(used, values, 0).astype(np.float32)


def _aux(table: Table, aux: tuple[AuxTarget, ...], what: str, report: Report) -> tuple[np.ndarray, np.ndarray]:
    """Values [M, A] and weights [M, A] of one auxiliary group; [M, 0] when there is no value at all."""
    nothing = np.zeros((len(table), 0), np.float32)
    if not aux:
        return nothing, nothing
    values = np.stack([_finite(table, target.column) for target in aux], axis=1)
    empty = sorted({target.column for j, target in enumerate(aux) if np.isnan(values[:, j]).all()})
    if empty:
        off = "off" if np.isnan(values).all() else "without these"
        report.say(f"{table.source}: {what} regression {off}, absent or empty: {', '.join(empty)}")
    if np.isnan(values).all():
        return nothing, nothing
    weights = np.stack([_weights(table, t.weight, np.isfinite(values[:, j])) for j, t in enumerate(aux)], axis=1)
    return values, weights


def _finite(table: Table, column: str) -> np.ndarray:
    if column not in table.names:
        return np.full(len(table), np.nan, dtype=np.float32)
    values = table.numbers(column)
    wrong = np.flatnonzero(np.abs(values) > _LARGEST)
    if wrong.size:
        row = int(wrong[0])
        want = "a finite float32 or empty"
        raise DataError(table.source, row=table.row(row), column=column, got=float(values[row]), want=want)
    return values.astype(np.float32)


def as_targets(raw: RawTargets, abs_: np.ndarray, fluo: np.ndarray, w: np.ndarray, group: np.ndarray) -> Targets:
    """Targets from raw ones, with standardised auxiliaries `abs_` [M, A], `fluo` [M, F], weights `w` and classes `group`."""

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))

    def filled(values: np.ndarray) -> tuple[Tensor, Tensor]:
        has = np.isfinite(values)
        return tensor(np.where(has, values, 0)), torch.from_numpy(has)

    y, known = filled(raw.y)
    a, has_a = filled(abs_)
    f, has_f = filled(fluo)
    masked = tensor(np.where(raw.known, w, 0))
    return Targets(y, known, masked, a, has_a, tensor(raw.w_abs), f, has_f, tensor(raw.w_fluo), torch.from_numpy(group))
