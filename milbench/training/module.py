"""The training loop's steps: what Lightning calls, and what a validation epoch yields."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from milbench.configs import HPOConfig
from milbench.data.bags import BagBatch
from milbench.data.cv import FoldData
from milbench.errors import StudyError
from milbench.metrics import Metrics, evaluate
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.seeds import stream_seed
from milbench.tasks import TaskSet
from milbench.training.memory import free_memory, is_out_of_memory
from milbench.training.schedule import set_learning_rate

log = logging.getLogger(__name__)

T = TypeVar("T")


class MILModule(lightning.LightningModule):
    """Trains `model` on one fold. Dropout is seeded by (seed, fold, batch number), so a run repeats whatever came before it.

    Where memory is too short, the batches are `halved`, once: gradients and effective batch stay those of the whole batch.
    """

    def __init__(
        self, model: MILTaskAttnMixerWithAux, fold: FoldData, config: HPOConfig, tasks: TaskSet, halved: bool = False
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.fold, self.hpo, self.tasks, self.halved = model, fold, config, tasks, halved
        self.metrics: Metrics | None = None
        self.val_logits = np.empty((0, len(tasks)), np.float32)
        self.train_loss = float("nan")
        self.losses: list[Tensor] = []
        self._since_step: list[tuple[int, Tensor]] = []
        self._logits: list[Tensor] = []

    def transfer_batch_to_device(self, batch: BagBatch, device: torch.device, dataloader_idx: int) -> BagBatch:
        """Send a batch without waiting for it (page-locked memory makes that true)."""
        return batch.to(device, non_blocking=True)

    @property
    def label(self) -> str:
        """What is trained, for messages."""
        return self.fold.label

    def steps_at(self, batch_idx: int) -> bool:
        """Whether the optimizer steps after this batch of an epoch."""
        done = batch_idx + 1
        return done % self.hpo.optimization.accumulate_grad_batches == 0 or done == self.trainer.num_training_batches

    def training_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Add the batch's gradients to those since the last step of the optimizer, and step where it is due."""
        number = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        self._since_step.append((number, batch.index))
        losses = self._within_memory(lambda: [self._gradients(batch, number)], self._gradients_since_step)
        self.losses[batch_idx + 1 - len(losses) :] = losses
        if self.steps_at(batch_idx):
            optimizer = self.optimizers()
            done = self.current_epoch + batch_idx / self.trainer.num_training_batches
            set_learning_rate(optimizer.param_groups[0], self.hpo.optimization, done, self.trainer.max_epochs)  # type: ignore[union-attr]
            optimizer.step()  # type: ignore[union-attr]
            optimizer.zero_grad()  # type: ignore[union-attr]
            self._since_step.clear()

    def _gradients(self, batch: BagBatch, number: int) -> Tensor:
        """Loss of the batch, its gradients added; in halves, each has the whole batch's denominators, so that they add up."""
        torch.manual_seed(stream_seed(self.hpo.runtime.seed, "noise", self.fold.number, number))
        total = []
        for part in batch.halves() if self.halved else [batch]:
            loss = self.model.loss(part, batch.targets).total
            self.manual_backward(loss / self.hpo.optimization.accumulate_grad_batches)
            total.append(loss.detach())
        return total[0] if len(total) == 1 else torch.stack(total).sum()

    def _gradients_since_step(self) -> list[Tensor]:
        """The gradients of every batch since the last step once more: a backward pass that failed has left some of its own."""
        self.zero_grad()
        targets = self.fold.targets(self.hpo.loss)
        return [self._gradients(self.fold.batch(i.cpu(), targets).to(self.device), n) for n, i in self._since_step]

    def _within_memory(self, work: Callable[[], T], again: Callable[[], T]) -> T:
        """`work()`, or where memory is too short for it, once in a training, `again()` with halved batches."""
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.halved or self.trainer.world_size > 1:
                raise self._too_large() from error
            self.halved = True
        free_memory()
        half = (self.hpo.optimization.batch_size + 1) // 2
        where = f"{self.label}, epoch {self.current_epoch + 1}"
        log.warning("%s: out of memory; goes on with %d molecules at a time, the effective batch stays", where, half)
        return self._within_memory(again, again)

    def _too_large(self) -> StudyError:
        where, size = f"{self.label}, epoch {self.current_epoch + 1}", self.hpo.optimization.batch_size
        what = f"out of memory, with half the batch too ({(size + 1) // 2} molecules)" if self.halved else "out of memory"
        return StudyError(where, what, do="use a smaller batch_size (--fix batch_size=…) or model, or a larger device")

    def on_validation_epoch_start(self) -> None:
        self._logits.clear()

    def validation_step(self, batch: BagBatch, batch_idx: int) -> None:
        def logits() -> Tensor:
            parts = batch.halves() if self.halved else [batch]
            return torch.cat([self.model.predict(part)[0].float() for part in parts])

        self._logits.append(self._within_memory(logits, logits))

    def on_validation_epoch_end(self) -> None:
        self.val_logits = torch.cat(self._logits).cpu().numpy()
        if self.losses:
            self.train_loss = float(on_one_device(self.losses, self.device).mean())
        losses = self.train_loss if self.losses else 0.0
        refuse_nan(self.label, self.current_epoch, self.model, self.val_logits, losses)
        self.losses.clear()
        raw, rows = self.fold.bags.raw, self.fold.val
        self.metrics = evaluate(raw.y[rows], self.val_logits, raw.w[rows], self.tasks)
        self.log_dict({"val_macro_ap": self.metrics.macro_ap, "val_min_ap": self.metrics.min_ap}, batch_size=len(rows))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of([self.model], self.hpo)


def on_one_device(losses: Sequence[Tensor], device: torch.device) -> Tensor:
    """An epoch's losses as one tensor; those from before an interruption were kept in a file."""
    return torch.stack([loss.to(device) for loss in losses])


def refuse_nan(label: str, epoch: int, model: MILTaskAttnMixerWithAux, logits: np.ndarray, loss: float) -> None:
    """A NaN is a finding: named with fold, epoch and the first parameter that is not finite."""
    if np.isfinite(logits).all() and np.isfinite(loss):
        return
    bad = [name for name, value in model.named_parameters() if not bool(torch.isfinite(value).all())]
    what = f"parameter {bad[0]} became NaN or inf" if bad else "predictions or loss are NaN or inf, parameters are not"
    raise StudyError(f"{label}, epoch {epoch + 1}", what, do="lower lr, or check the features' range")


def optimizer_of(models: Sequence[nn.Module], config: HPOConfig) -> torch.optim.Optimizer:
    """AdamW over everything that is trained, a parameter group a model."""
    options: dict[str, Any] = {"lr": config.optimization.lr, "weight_decay": config.optimization.weight_decay}
    groups = [{"params": [p for p in model.parameters() if p.requires_grad]} for model in models]
    return torch.optim.AdamW(groups, fused=True, **options)
