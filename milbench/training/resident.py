"""A fold's arrays on the device that trains: a batch is one gather there, and an epoch never waits for the host."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from milbench.configs import HPOConfig
from milbench.data.bags import BagBatch, BagData
from milbench.data.buckets import bucket
from milbench.data.cv import FoldData, ScaledBags
from milbench.data.sampler import MultitaskBalancedBatchSampler
from milbench.data.targets import Targets
from milbench.training.evaluator import EVAL_BATCH
from milbench.training.trainer import eval_loader, train_loader

log = logging.getLogger(__name__)

SHARE = 0.5
"""Arrays may take this share of a device's free memory; the rest is the model's and its activations'."""


def arrays_bytes(bags: BagData, *targets: Targets) -> int:
    """Memory that a data set's arrays and the targets of its folds take."""
    arrays = (bags.x2d, bags.xinst, bags.offsets, *(getattr(one, f.name) for one in targets for f in fields(one)))
    return sum(array.nbytes for array in arrays)


def fits(device: torch.device, needed: int) -> bool:
    """Whether `needed` bytes of arrays may live on a CUDA device, measured now and said once; elsewhere they stay."""
    if device.type != "cuda":
        return False
    free, fit = _free(device), needed <= SHARE * _free(device)
    where = f"live on {device}" if fit else f"do not fit {device}: batches are sent one by one"
    _say(f"training data {where} ({needed / 2**30:.1f} GiB, {SHARE:.0%} of {free / 2**30:.0f} GiB free may be used)")
    return fit


def _free(device: torch.device) -> int:
    """Bytes that are free on the device, those that torch has reserved and does not use included."""
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserved


@cache
def _say(text: str) -> None:
    log.info(text)


class ResidentLoader:
    """What a loader of `sampler` yields, gathered on the device of `data`: the whole pass's indices are sent there at once.

    `sizes` [M]: instances of each molecule, on the host, so that nothing has to ask the device how many rows a batch has.
    `bucketed`: batches are filled up to common sizes.
    """

    def __init__(
        self,
        data: ScaledBags,
        sizes: np.ndarray,
        sampler: MultitaskBalancedBatchSampler | Sequence[Tensor],
        targets: Targets | None = None,
        bucketed: bool = False,
    ) -> None:
        self.data, self.sizes, self.sampler, self.targets, self.bucketed = data, sizes, sampler, targets, bucketed
        self.batch_sampler = None  # Lightning looks for it beside `sampler`

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[BagBatch]:
        parts = list(self.sampler)
        if not parts:
            return
        device = self.data.bags.x2d.device
        everything = torch.cat(parts).to(device)
        totals = [int(self.sizes[part.numpy()].sum()) for part in parts]
        for index, total in zip(everything.split([len(part) for part in parts]), totals, strict=True):
            yield self.data.batch(index, self.targets, bucket(total) if self.bucketed else total, self.bucketed)


Loader = DataLoader[BagBatch] | ResidentLoader


def fold_loaders(
    fold: FoldData, config: HPOConfig, device: torch.device, share: tuple[int, int] = (0, 1)
) -> tuple[Loader, Loader]:
    """Loaders of a fold's training batches (this process's `share`) and of its validation molecules."""
    targets = fold.targets(config.loss)
    if not fits(device, arrays_bytes(fold.bags, targets)):
        return train_loader(fold, config, share), eval_loader(fold, fold.val, config.runtime)
    return resident_loaders(fold, config, device, share)


def resident_loaders(
    fold: FoldData, config: HPOConfig, device: torch.device, share: tuple[int, int] = (0, 1), bucketed: bool = False
) -> tuple[ResidentLoader, ResidentLoader]:
    """As `fold_loaders`, from arrays on `device` without asking whether they fit."""
    data, sizes = fold.scaled.on(device), fold.bags.bag_sizes
    targets = fold.targets(config.loss).on(device)
    train = ResidentLoader(data, sizes, fold.sampler(config, share), targets, bucketed)
    return train, ResidentLoader(data, sizes, torch.from_numpy(fold.val).split(EVAL_BATCH))
