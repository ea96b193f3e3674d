"""Deterministic Lightning trainers and the loaders they read (seed 1.2)."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.bags import BagBatch
from milbench.data.cv import FoldData
from milbench.data.sampler import MultitaskBalancedBatchSampler
from milbench.data.targets import Targets
from milbench.training.evaluator import EVAL_BATCH


def quiet_lightning() -> None:
    """Keep Lightning's advice about loaders and devices, and its own deprecations, out of the user's sight."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")  # none of ours needs it
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # every process validates all molecules
    warnings.filterwarnings("ignore", message=".*`trainer.fit.*` was called.*", category=UserWarning)


@dataclass(frozen=True)
class LightningTrainerFactory:
    """Builds trainers that repeat bit for bit; nothing is written to disk, logged or drawn by Lightning itself."""

    runtime: RuntimeConfig
    max_epochs: int

    def build(self, callbacks: Sequence[Callback]) -> lightning.Trainer:
        """A trainer with these callbacks."""
        quiet_lightning()
        deterministic = import_module("torch.utils.deterministic")
        deterministic.fill_uninitialized_memory = False  # else every torch.empty is filled with NaN first  # type: ignore[attr-defined]
        return lightning.Trainer(
            accelerator=self.runtime.accelerator,
            devices=self.runtime.devices,
            precision=self.runtime.precision,  # type: ignore[arg-type]
            max_epochs=self.max_epochs,
            callbacks=list(callbacks),
            plugins=[LightningEnvironment()] if self.runtime.devices == 1 else None,  # in a SLURM job too, one process
            deterministic=True,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def start_at(trainer: lightning.Trainer, sampler: MultitaskBalancedBatchSampler, epoch: int, batch: int) -> None:
    """Let a new trainer and its sampler begin at this batch of this epoch, as if they had come there themselves."""
    sampler.set_epoch(epoch)
    sampler.start = batch
    loop = trainer.fit_loop
    for progress, place in ((loop.epoch_progress.current, epoch), (loop.epoch_loop.batch_progress.current, batch)):
        for count in ("ready", "started", "processed", "completed"):
            setattr(progress, count, place)
    loop.epoch_loop.restarting = batch > 0  # else it begins the epoch anew


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lightning answers Ctrl-C with SystemExit; make it KeyboardInterrupt again, the one that it was."""
    try:
        yield
    except SystemExit as error:
        cause = error.__context__
        raise cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt from error


class _Batches(Dataset[BagBatch]):
    """Makes a batch from an index tensor; fetched by loaders with batch_size=None."""

    def __init__(self, fold: FoldData, targets: Targets | None) -> None:
        self.fold, self.targets = fold, targets

    def __getitem__(self, index: Tensor) -> BagBatch:  # type: ignore[override]
        return self.fold.batch(index, self.targets)


def train_loader(fold: FoldData, config: HPOConfig, share: tuple[int, int] = (0, 1)) -> DataLoader[BagBatch]:
    """Balanced batches of the fold's training molecules."""
    return _loader(_Batches(fold, fold.targets(config.loss)), fold.sampler(config, share), config.runtime)


def eval_loader(fold: FoldData, rows: np.ndarray, runtime: RuntimeConfig) -> DataLoader[BagBatch]:
    """Molecules `rows` in order, without targets."""
    return _loader(_Batches(fold, None), torch.from_numpy(rows).split(EVAL_BATCH), runtime)


def _loader(batches: _Batches, sampler: object, runtime: RuntimeConfig) -> DataLoader[BagBatch]:
    return DataLoader(
        batches,
        sampler=sampler,  # type: ignore[arg-type]
        batch_size=None,
        num_workers=runtime.num_workers,
        persistent_workers=runtime.num_workers > 0,
        pin_memory=runtime.pin_memory and torch.cuda.is_available(),
    )
