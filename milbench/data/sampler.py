"""Balanced multi-task batches as a torch sampler (seed section 4.3)."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from milbench.configs import SamplerConfig
from milbench.data.composition import BatchComposition


class MultitaskBalancedBatchSampler(BatchComposition, Sampler[Tensor]):
    """Yields one index tensor a batch, composed as `BatchComposition` says; arguments as there.

    `rows` [n] are the places of the molecules in the data set, what is yielded (default 0..n-1). `set_epoch` chooses the epoch
    and `start` the first batch of the next pass.
    """

    def __init__(
        self,
        y: np.ndarray,
        config: SamplerConfig,
        batch_size: int,
        *,
        rows: np.ndarray | None = None,
        seed: int = 0,
        fold: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(y, config, batch_size, seed=seed, fold=fold, share=share)
        self.rows = np.arange(len(y)) if rows is None else rows
        self.epoch = self.start = 0
        self.sampler = self  # Lightning looks for `batch_sampler.sampler.set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        batches = torch.from_numpy(self.rows[self.draw(self.epoch)[self.start :]])
        self.start = 0
        yield from batches
