"""Batches of all folds of a trial at once: each fold's own, filled up to a common number of rows and stacked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from milbench.configs import HPOConfig
from milbench.data.bags import BagBatch
from milbench.data.buckets import bucket
from milbench.data.cv import FoldData, ScaledBags
from milbench.data.sampler import MultitaskBalancedBatchSampler
from milbench.data.targets import Targets
from milbench.models.stacked import stacked_batch
from milbench.training.evaluator import EVAL_BATCH
from milbench.training.resident import arrays_bytes, fits


@dataclass(frozen=True, eq=False)
class FoldPart:
    """One fold's batches: where they are made, their molecules, and their targets where they train."""

    data: ScaledBags
    sampler: MultitaskBalancedBatchSampler | Sequence[Tensor]
    targets: Targets | None = None


class FoldsLoader:
    """Yields stacked batches of the `live` folds, as many as the longest fold has; a fold that has no more repeats its last.

    `sizes` [M]: instances of each molecule, on the host. `set_epoch` and `start` as of a batch sampler,
    which it is to Lightning.
    """

    def __init__(self, parts: Sequence[FoldPart], sizes: np.ndarray) -> None:
        self.parts, self.sizes, self.live = parts, sizes, list(range(len(parts)))
        self.lengths = [len(part.sampler) for part in parts]
        self.start = 0
        self.sampler, self.batch_sampler = self, None

    def __len__(self) -> int:
        return max(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass draws."""
        for part in self.parts:
            if isinstance(part.sampler, MultitaskBalancedBatchSampler):
                part.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[BagBatch]:
        start, self.start = self.start, 0
        indices = {k: self._indices(k) for k in self.live}
        for i in range(start, len(self)):
            yield self._batch({k: places[min(i, self.lengths[k] - 1)] for k, places in indices.items()})

    def _indices(self, k: int) -> list[tuple[Tensor, int]]:
        """All batches of a fold's pass: molecules, on the device where it is made, and how many instances they have."""
        sampler = self.parts[k].sampler
        places = list(sampler)
        there = torch.cat(places).to(self.parts[k].data.bags.x2d.device).split([len(index) for index in places])
        return [(index, int(self.sizes[host.numpy()].sum())) for index, host in zip(there, places, strict=True)]

    def _batch(self, indices: dict[int, tuple[Tensor, int]]) -> BagBatch:
        total = bucket(max(rows for _, rows in indices.values()))
        parts = ((self.parts[k], index) for k, (index, _) in indices.items())
        return stacked_batch([part.data.batch(index, part.targets, total, fill=True) for part, index in parts])


def folds_loaders(folds: Sequence[FoldData], config: HPOConfig, device: torch.device) -> tuple[FoldsLoader, FoldsLoader]:
    """Loaders of the training batches and of the validation molecules of folds of one data set, on the device if they fit.

    A fold's validation molecules come in order; the first of them fills up its last batch.
    """
    bags, targets = folds[0].bags, [fold.targets(config.loss) for fold in folds]
    there = device if fits(device, arrays_bytes(bags, *targets)) else bags.x2d.device
    resident = bags.on(there)
    scaled = [fold.scaled.on(there, resident) for fold in folds]
    size = min(EVAL_BATCH, max(len(fold.val) for fold in folds))
    train = [FoldPart(d, fold.sampler(config), y.on(there)) for d, fold, y in zip(scaled, folds, targets, strict=True)]
    val = [FoldPart(d, _validation(fold.val, size)) for d, fold in zip(scaled, folds, strict=True)]
    return FoldsLoader(train, bags.bag_sizes), FoldsLoader(val, bags.bag_sizes)


def _validation(rows: np.ndarray, size: int) -> Sequence[Tensor]:
    more = -len(rows) % size
    return torch.from_numpy(np.concatenate([rows, np.repeat(rows[:1], more)])).split(size)
