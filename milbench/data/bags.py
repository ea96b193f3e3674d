"""Molecules and their bags as contiguous arrays, and a batch of them without padding."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milbench.data.targets import RawTargets, Targets
from milbench.errors import DataError


@dataclass(frozen=True)
class BagBatch:
    """A ragged batch of B molecules with R instances in all; rows offsets[b]:offsets[b+1] of xinst belong to molecule b.

    x2d [B, F2], xinst [R, F3], offsets [B+1] int64, segment [R] int64 (the molecule of each row), index [B] int64 (the
    molecules' places in the data set), targets of B molecules or None. In a bucketed batch one more bag, the last, holds rows
    that fill R up to a common size: offsets [B+2], and what is pooled of it is no molecule's.
    """

    x2d: Tensor
    xinst: Tensor
    offsets: Tensor
    segment: Tensor
    index: Tensor
    targets: Targets | None = None

    def __len__(self) -> int:
        return self.x2d.shape[0]

    def halves(self) -> list["BagBatch"]:
        """The first molecules and the others, as views; a batch of one is not divided."""
        if len(self) < 2:
            return [self]
        half, n = (len(self) + 1) // 2, len(self)
        return [self._part(0, half), self._part(half, n)]

    def _part(self, first: int, end: int) -> "BagBatch":
        """Molecules first ≤ b < end."""
        rows = slice(int(self.offsets[first]), int(self.offsets[end]))
        offsets = self.offsets[first : end + 1] - self.offsets[first]
        targets = None if self.targets is None else self.targets.take(slice(first, end))
        molecules = slice(first, end)
        return BagBatch(
            self.x2d[molecules], self.xinst[rows], offsets, self.segment[rows] - first, self.index[molecules], targets
        )

    def to(self, device: Any, non_blocking: bool = False) -> "BagBatch":
        """The same batch on another device."""
        return _mapped(self, lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "BagBatch":
        """The same batch in page-locked memory."""
        return _mapped(self, lambda x: x.pin_memory())


def _mapped(value: Any, fn: Any) -> Any:
    def one(x: Any) -> Any:
        return fn(x) if isinstance(x, Tensor) else _mapped(x, fn) if dataclasses.is_dataclass(x) else x

    return dataclasses.replace(value, **{f.name: one(getattr(value, f.name)) for f in dataclasses.fields(value)})


def make_batch(x2d: Tensor, xinst: Tensor, offsets: Tensor, targets: Targets | None = None) -> BagBatch:
    """A batch of whole arrays: x2d [B, F2], xinst [R, F3], offsets [B+1]."""
    lengths = offsets.diff()
    rows = torch.arange(len(lengths), device=offsets.device)
    segment = torch.repeat_interleave(rows, lengths, output_size=xinst.shape[0])
    return BagBatch(x2d, xinst, offsets, segment, rows, targets)


@dataclass(frozen=True)
class BagData:
    """A data set: M molecules and their ΣN instances, contiguous (or memory-mapped), with raw targets.

    ids [M] text, x2d float32 [M, F2], xinst float32 or float16 [ΣN, F3], offsets int64 [M+1], conf_ids [ΣN] text,
    split [M] text, fold [M] int64 (-1: none), smiles [M] text or None. Feature names in order. `notes` say what was
    dropped or averaged on the way; `content` is a hash of all arrays; `provenance` says where they come from (plain JSON).
    """

    ids: np.ndarray
    x2d: Tensor
    xinst: Tensor
    offsets: Tensor
    conf_ids: np.ndarray
    split: np.ndarray
    fold: np.ndarray
    raw: RawTargets
    names2d: tuple[str, ...]
    names_inst: tuple[str, ...]
    smiles: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    content: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        m, r = len(self.ids), self.xinst.shape[0]
        sizes = {"x2d": self.x2d.shape[0], "offsets": len(self.offsets) - 1, "split": len(self.split), "fold": len(self.fold)}
        sizes |= {f.name: len(getattr(self.raw, f.name)) for f in dataclasses.fields(self.raw)}
        sizes |= {} if self.smiles is None else {"smiles": len(self.smiles)}
        for name, size in sizes.items():
            if size != m:
                raise DataError("bag data", f"{name} has {size} molecules, ids has {m}")
        if int(self.offsets[0]) != 0 or int(self.offsets[-1]) != r or bool((self.offsets.diff() < 0).any()):
            raise DataError("bag data", f"offsets do not partition the {r} instance rows", do="prepare the data again")
        if len(self.conf_ids) != r:
            raise DataError("bag data", f"conf_ids has {len(self.conf_ids)} rows, xinst has {r}")
        for name, width, names in (("x2d", self.x2d.shape[1], self.names2d), ("xinst", self.xinst.shape[1], self.names_inst)):
            if width != len(names):
                raise DataError("bag data", f"{name} has {width} columns, {len(names)} are named")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bag_sizes(self) -> np.ndarray:
        """Instances of each molecule [M]."""
        return self.offsets.diff().numpy()

    def rows(self, index: Tensor, total: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Instance rows of these molecules: (rows [R], offsets [B+1], segment [R]), molecule after molecule.

        `total` is R where the caller knows it, so that nobody has to wait for the device to tell.
        """
        start, offsets = self._places(index)
        total = int(offsets[-1]) if total is None else total
        segment = torch.repeat_interleave(torch.arange(len(index), device=index.device), offsets.diff(), output_size=total)
        return (start - offsets[:-1])[segment] + torch.arange(total, device=index.device), offsets, segment

    def bucketed_rows(self, index: Tensor, total: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `rows`, filled up to `total` rows in one more, last bag: (rows [total], offsets [B+2], segment [total]).

        The filling repeats the batch's first row: whatever is wrong with it is wrong with the batch already.
        """
        start, offsets = self._places(index)
        offsets = torch.cat([offsets, offsets.new_full((1,), total)])
        bags, places = (torch.arange(n, device=index.device) for n in (len(index) + 1, total))
        segment = torch.repeat_interleave(bags, offsets.diff(), output_size=total)
        rows = (torch.cat([start, offsets[-2:-1]]) - offsets[:-1])[segment] + places
        first = torch.where(offsets[-2:-1] > 0, rows[:1], 0)
        return torch.where(segment == len(index), first, rows), offsets, segment

    def _places(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Where the instances of these molecules begin here [B], and in the batch [B+1]."""
        start = self.offsets[index]
        offsets = torch.zeros(len(index) + 1, dtype=torch.int64, device=index.device)
        torch.cumsum(self.offsets[index + 1] - start, 0, out=offsets[1:])
        return start, offsets

    def on(self, device: torch.device) -> "BagData":
        """The same data set with its arrays on `device`; its batches are made there."""
        return dataclasses.replace(self, x2d=self.x2d.to(device), xinst=self.xinst.to(device), offsets=self.offsets.to(device))

    def with_features(self, names2d: tuple[str, ...], names_inst: tuple[str, ...], where: object) -> "BagData":
        """The same molecules with these features in this order; one that is not there is a DataError about `where`."""
        if (self.names2d, self.names_inst) == (names2d, names_inst):
            return self
        x2d = self.x2d[:, _places(self.names2d, names2d, "2D", where)]
        xinst = self.xinst[:, _places(self.names_inst, names_inst, "conformer", where)]
        return dataclasses.replace(self, x2d=x2d, xinst=xinst, names2d=names2d, names_inst=names_inst)

    def not_finite(self, index: np.ndarray) -> np.ndarray:
        """Of each molecule `index` [n] the first feature that is not finite, a 2D one before its conformers', '' where all are;
        [n] text.
        """
        out = np.full(len(index), "", dtype=object)
        places = torch.from_numpy(index)
        rows, _, segment = self.rows(places)
        each = torch.arange(len(index))
        for x, names, molecule in ((self.xinst[rows], self.names_inst, segment), (self.x2d[places], self.names2d, each)):
            row, column = torch.nonzero(~torch.isfinite(x), as_tuple=True)
            out[molecule[row].numpy()[::-1]] = np.array(names, dtype=object)[column.numpy()[::-1]]
        return out

    def gather(self, index: Tensor, targets: Targets | None = None, total: int | None = None, fill: bool = False) -> BagBatch:
        """Copy the molecules `index` [B] (places in this data set) into one ragged float32 batch.

        `total`: how many instances they have, where the caller knows; with `fill`, how many rows the bucketed batch gets.
        """
        rows, offsets, segment = self.bucketed_rows(index, total) if fill and total else self.rows(index, total)
        picked = None if targets is None else targets.take(index)
        none = not len(self.xinst)  # 2D alone: what fills a batch up cannot be taken from anywhere
        xinst = self.xinst.new_zeros((len(rows), self.xinst.shape[1])) if none else self.xinst[rows]
        return BagBatch(self.x2d[index].float(), xinst.float(), offsets, segment, index, picked)


def _places(own: tuple[str, ...], wanted: tuple[str, ...], kind: str, where: object) -> Tensor:
    place = {name: j for j, name in enumerate(own)}
    missing = [name for name in wanted if name not in place]
    if missing:
        what = f"lacks {len(missing)} of the {len(wanted)} {kind} features that the model was trained on"
        do = "prepare the molecules as the model's were, or give `milbench predict` their SMILES"
        raise DataError(where, what, column=missing[0], do=do)
    return torch.tensor([place[name] for name in wanted], dtype=torch.int64)
