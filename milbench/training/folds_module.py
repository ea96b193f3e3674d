"""The training loop's steps where one step trains all folds of a trial: stacked weights, each fold with batches of its own."""

from collections.abc import Sequence

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from milbench.configs import HPOConfig
from milbench.data.bags import BagBatch
from milbench.data.cv import FoldData
from milbench.metrics import Metrics, evaluate
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.models.stacked import StackedModels
from milbench.seeds import stream_seed
from milbench.tasks import TaskSet
from milbench.training.module import on_one_device, optimizer_of, refuse_nan
from milbench.training.schedule import set_learning_rate


class FoldsModule(lightning.LightningModule):
    """Trains K models, one a fold. A fold takes as many steps as it would alone, on the same batches, with an optimizer state
    of its own; one that is not `live` any more takes none. Dropout is seeded by (seed, batch number) for all of them together.

    `lengths` [K]: batches that an epoch of each fold has. `live` changes between epochs alone, in place: loaders share it.
    """

    halved = False
    label = "folds together"

    def __init__(
        self,
        models: Sequence[MILTaskAttnMixerWithAux],
        folds: Sequence[FoldData],
        config: HPOConfig,
        tasks: TaskSet,
        lengths: Sequence[int],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = nn.ModuleList(models)
        self.folds, self.hpo, self.tasks, self.lengths = folds, config, tasks, lengths
        self.live = list(range(len(models)))
        self.losses: list[Tensor] = []
        self.train_loss = [float("nan")] * len(models)
        self.metrics: dict[int, Metrics] = {}
        self.val_logits: dict[int, np.ndarray] = {}
        self._logits: list[Tensor] = []
        self._stack: StackedModels | None = None

    def model_of(self, k: int) -> MILTaskAttnMixerWithAux:
        """The model of fold k."""
        return self.model[k]  # type: ignore[return-value]

    @property
    def stack(self) -> StackedModels:
        """The live models as one, made anew after some have left."""
        if self._stack is None:
            self._stack = StackedModels([self.model_of(k) for k in self.live])
        return self._stack

    def keep(self, live: Sequence[int]) -> None:
        """Only these folds are trained on; the others stay as they are."""
        if list(live) != self.live:
            self.live[:], self._stack = live, None

    def transfer_batch_to_device(self, batch: BagBatch, device: torch.device, dataloader_idx: int) -> BagBatch:
        """Send a batch without waiting for it (page-locked memory makes that true)."""
        return batch.to(device, non_blocking=True)

    def steps_at(self, batch_idx: int) -> bool:
        """Whether the optimizer steps after this batch for every fold that has one."""
        return self._steps(batch_idx + 1, int(self.trainer.num_training_batches))

    def _steps(self, done: int, length: int) -> bool:
        return done == length or (done < length and done % self.hpo.optimization.accumulate_grad_batches == 0)

    def on_train_epoch_start(self) -> None:
        """What folds that had no batch any more have gathered is nothing."""
        self.stack.clear(range(len(self.live)))

    def training_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Add each fold's gradients to its own, and step the folds for which a step is due."""
        number = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        torch.manual_seed(stream_seed(self.hpo.runtime.seed, "noise", "folds together", number))
        losses = self.stack.losses(batch)
        self.manual_backward(losses.sum() / self.hpo.optimization.accumulate_grad_batches)
        self.losses.append(losses.detach())
        due = [place for place, k in enumerate(self.live) if self._steps(batch_idx + 1, self.lengths[k])]
        if due:
            self.stack.hand_out(due)
            optimizer = self.optimizers()
            for k in (self.live[place] for place in due):
                done = self.current_epoch + batch_idx / self.lengths[k]
                set_learning_rate(optimizer.param_groups[k], self.hpo.optimization, done, self.trainer.max_epochs)  # type: ignore[union-attr]
            optimizer.step()  # type: ignore[union-attr]
            self.stack.clear(due)

    def on_validation_epoch_start(self) -> None:
        self._logits.clear()

    def validation_step(self, batch: BagBatch, batch_idx: int) -> None:
        self._logits.append(self.stack.logits(batch))

    def on_validation_epoch_end(self) -> None:
        """Scores of each live fold; its molecules are the first of what was predicted, the rest filled up its last batch."""
        everything = torch.cat(self._logits, dim=1).cpu().numpy()
        losses = on_one_device(self.losses, self.device).cpu().numpy() if self.losses else np.empty((0, len(self.live)))
        self.losses.clear()
        for place, k in enumerate(self.live):
            fold = self.folds[k]
            rows, raw = fold.val, fold.bags.raw
            own = losses[: self.lengths[k], place]
            self.train_loss[k] = float(own.mean()) if len(own) else self.train_loss[k]
            self.val_logits[k] = everything[place, : len(rows)].copy()
            refuse_nan(fold.label, self.current_epoch, self.model_of(k), self.val_logits[k], float(own.sum()))
            self.metrics[k] = evaluate(raw.y[rows], self.val_logits[k], raw.w[rows], self.tasks)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(list(self.model), self.hpo)
