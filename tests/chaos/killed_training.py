"""What a process does that is killed while it trains."""

import os
import signal
from pathlib import Path
from typing import Any

import torch

from builders import TINY, make_bags, make_cv
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.files import write_tensors
from milbench.tasks import EUOS25
from milbench.training.fold import MILFoldTrainer
from milbench.training.module import MILModule
from milbench.training.resume import TrainingCheckpoint

EPOCHS, BATCHES = 8, 6


def config() -> HPOConfig:
    """The smallest model that is still the whole model, two batches to a step of the optimizer."""
    params = {**TINY, "lr": 0.005, "accumulate_grad_batches": 2}
    return HPOConfig.from_params(params, EUOS25, runtime=RuntimeConfig(accelerator="cpu"))


def kill_at(epoch: int, batch: int) -> None:
    """This process is killed in the middle of that batch: its gradients are there, the optimizer has not stepped."""
    honest = MILModule._gradients

    def gradients(self: MILModule, *given: Any) -> torch.Tensor:
        loss = honest(self, *given)
        if divmod(given[1], BATCHES) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGKILL)
        return loss

    MILModule._gradients = gradients


def keep_optimizer(folder: Path) -> None:
    """The optimizer's last state goes to a file of its own."""
    honest = TrainingCheckpoint.finish

    def finish(self: TrainingCheckpoint) -> None:
        write_tensors(folder / "optimizer.pt", self.module.trainer.optimizers[0].state_dict())
        write_tensors(folder / "last.pt", self.module.model.state_dict())
        honest(self)

    TrainingCheckpoint.finish = finish


def train(folder: Path) -> None:
    """Train, checkpointed at every step of the optimizer, and leave all that was found in `folder`."""
    torch.set_num_threads(1)
    keep_optimizer(folder)
    fold = make_cv(make_bags(130)).fold(1)
    result = MILFoldTrainer(EUOS25, EPOCHS, EPOCHS, 0.0).train(fold, config(), checkpoint=folder / "fold_1.ckpt")
    history = [[epoch.train_loss, epoch.metrics.macro_ap, *epoch.metrics.ap, *epoch.metrics.auc] for epoch in result.history]
    found = {
        "weights": result.model.state_dict(),
        "logits": torch.from_numpy(result.val_logits),
        "history": torch.tensor(history, dtype=torch.float64),
        "best_epoch": result.best_epoch,
    }
    write_tensors(folder / "found.pt", found)


def train_until(folder: Path, place: tuple[int, int] | None) -> None:
    """Train, and be killed at this (epoch, batch)."""
    if place is not None:
        kill_at(*place)
    train(folder)
