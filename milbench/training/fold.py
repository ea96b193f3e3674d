"""One fold trained and scored: the one training loop, of cross-validation and of the final model alike."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from milbench.configs import HPOConfig
from milbench.data.cv import FoldData
from milbench.errors import StudyError
from milbench.metrics import Metrics, fold_score, warn_undefined
from milbench.models.builder import MILModelBuilder
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.tasks import TaskSet
from milbench.training.memory import peak_memory_mb, reset_peak_memory
from milbench.training.module import MILModule
from milbench.training.trainer import LightningTrainerFactory, eval_loader, interruptible, train_loader

EpochHook = Callable[["Epoch"], None]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: its number, mean training loss, validation metrics."""

    number: int
    train_loss: float
    metrics: Metrics

    def to_dict(self) -> dict[str, float | int]:
        """Plain numbers, for a line of metrics.jsonl."""
        aps = {f"ap_{name}": float(ap) for name, ap in zip(self.metrics.names, self.metrics.ap, strict=True)}
        macro, worst = self.metrics.macro_ap, self.metrics.min_ap
        return {"epoch": self.number, "train_loss": self.train_loss, "val_macro_ap": macro, "val_min_ap": worst, **aps}


@dataclass(frozen=True)
class FoldResult:
    """A trained fold: the model with the weights of its best epoch, that epoch's metrics and logits [m, T] of the validation
    molecules, epochs trained, seconds, peak memory in MiB (of the device, or of the process on a CPU).
    """

    model: MILTaskAttnMixerWithAux
    metrics: Metrics
    val_logits: np.ndarray
    best_epoch: int
    epochs: int
    seconds: float
    peak_memory_mb: float
    history: tuple[Epoch, ...]

    def score(self, min_w: float) -> float:
        """The fold's score, that of its best epoch."""
        return fold_score(self.metrics, min_w)

    def scalars(self, min_w: float) -> dict[str, float | int]:
        """Everything to record of the fold, by name."""
        m = self.metrics
        out: dict[str, float | int] = {
            "score": self.score(min_w),
            "macro_ap": m.macro_ap,
            "min_ap": m.min_ap,
            "macro_auc": m.macro_auc,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "peak_memory_mb": round(self.peak_memory_mb, 1),
        }
        for name, ap, auc in zip(m.names, m.ap, m.auc, strict=True):
            out[f"ap_{name}"], out[f"auc_{name}"] = float(ap), float(auc)
        return out


class _BestEpoch(Callback):
    """Keeps the weights and results of the epoch with the highest val_macro_ap, in memory; tells every epoch to `hook`."""

    def __init__(self, hook: EpochHook | None) -> None:
        self.hook = hook
        self.best = -np.inf
        self.history: list[Epoch] = []
        self.state: dict[str, Any] = {}
        self.epoch, self.logits = -1, np.empty(0)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = pl_module
        if not isinstance(module, MILModule) or module.metrics is None:
            return
        epoch = Epoch(trainer.current_epoch, module.train_loss, module.metrics)
        self.history.append(epoch)
        if not np.isfinite(epoch.metrics.macro_ap):
            raise StudyError(f"fold {module.fold.number}", "no endpoint has a positive to score", do="make other folds")
        if epoch.metrics.macro_ap > self.best:
            self.best, self.epoch, self.logits = epoch.metrics.macro_ap, epoch.number, module.val_logits
            self.state = copy.deepcopy(module.model.state_dict())
        if self.hook is not None:
            self.hook(epoch)


@dataclass(frozen=True)
class MILFoldTrainer:
    """Trains one fold with early stopping on val_macro_ap and gives back the best epoch."""

    tasks: TaskSet
    max_epochs: int
    patience: int

    def train(self, fold: FoldData, config: HPOConfig, hook: EpochHook | None = None) -> FoldResult:
        """Train on `fold.train`, validate on `fold.val` after each epoch; `hook` sees every epoch and may raise to stop."""
        started = time.perf_counter()
        reset_peak_memory()
        model = MILModelBuilder(config.runtime.seed).build(config, fold)
        module = MILModule(model, fold, config, self.tasks)
        best = _BestEpoch(hook)
        stopping = EarlyStopping("val_macro_ap", mode="max", patience=self.patience, check_finite=False)
        trainer = LightningTrainerFactory(config.runtime, self.max_epochs, config.optimization.accumulate_grad_batches).build(
            [best, stopping]
        )
        share = (trainer.global_rank, trainer.world_size)
        with interruptible():
            trainer.fit(module, train_loader(fold, config, share), eval_loader(fold, fold.val, config.runtime))
        model.load_state_dict(best.state)
        metrics = best.history[best.epoch].metrics
        warn_undefined(metrics, f"fold {fold.number}")
        return FoldResult(
            model=model,
            metrics=metrics,
            val_logits=best.logits,
            best_epoch=best.epoch,
            epochs=len(best.history),
            seconds=time.perf_counter() - started,
            peak_memory_mb=peak_memory_mb(),
            history=tuple(best.history),
        )


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid in float64, [m, T]."""
    return torch.sigmoid(torch.from_numpy(logits).double()).numpy()
