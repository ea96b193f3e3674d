"""The training loop's steps: what Lightning calls, and what a validation epoch yields."""

from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from milbench.configs import HPOConfig
from milbench.data.bags import BagBatch
from milbench.data.cv import FoldData
from milbench.errors import StudyError
from milbench.metrics import Metrics, evaluate
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.seeds import stream_seed
from milbench.tasks import TaskSet


class MILModule(lightning.LightningModule):
    """Trains `model` on one fold. Dropout is seeded by (seed, fold, batch number), so a run repeats whatever came before it."""

    def __init__(self, model: MILTaskAttnMixerWithAux, fold: FoldData, config: HPOConfig, tasks: TaskSet) -> None:
        super().__init__()
        self.model, self.fold, self.hpo, self.tasks = model, fold, config, tasks
        self.metrics: Metrics | None = None
        self.val_logits = np.empty((0, len(tasks)), np.float32)
        self.train_loss = float("nan")
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._batches = 0

    def on_train_epoch_start(self) -> None:
        self._losses.clear()

    def training_step(self, batch: BagBatch, batch_idx: int) -> Tensor:
        torch.manual_seed(stream_seed(self.hpo.runtime.seed, "noise", self.fold.number, self._batches))
        self._batches += 1
        loss = self.model.loss(batch).total
        self._losses.append(loss.detach())
        return loss

    def on_validation_epoch_start(self) -> None:
        self._logits.clear()

    def validation_step(self, batch: BagBatch, batch_idx: int) -> None:
        self._logits.append(self.model.forward_bags(batch).logits.float())

    def on_validation_epoch_end(self) -> None:
        self.val_logits = torch.cat(self._logits).cpu().numpy()
        if self._losses:
            self.train_loss = float(torch.stack(self._losses).mean())
        self._refuse_nan()
        raw, rows = self.fold.bags.raw, self.fold.val
        self.metrics = evaluate(raw.y[rows], self.val_logits, raw.w[rows], self.tasks)
        self.log_dict({"val_macro_ap": self.metrics.macro_ap, "val_min_ap": self.metrics.min_ap}, batch_size=len(rows))

    def _refuse_nan(self) -> None:
        """A NaN is a finding: named with fold, epoch and the first parameter that is not finite."""
        if np.isfinite(self.val_logits).all() and (not self._losses or np.isfinite(self.train_loss)):
            return
        bad = [name for name, value in self.model.named_parameters() if not bool(torch.isfinite(value).all())]
        what = f"parameter {bad[0]} became NaN or inf" if bad else "predictions or loss are NaN or inf, parameters are not"
        raise StudyError(
            f"fold {self.fold.number}, epoch {self.current_epoch}", what, do="lower lr, or check the features' range"
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        options: dict[str, Any] = {"lr": self.hpo.optimization.lr, "weight_decay": self.hpo.optimization.weight_decay}
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, fused=True, **options)
