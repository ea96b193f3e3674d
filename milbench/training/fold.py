"""One fold trained and scored: the one training loop, of cross-validation and of the final model alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from milbench.stopping import Interrupted
from milbench.tasks import TaskSet
from milbench.training.memory import give_back_memory, is_out_of_memory, keep_freed_memory, reset_peak_memory
from milbench.training.module import MILModule
from milbench.training.resident import fold_loaders
from milbench.training.resume import EVERY_S, TrainingCheckpoint, identity
from milbench.training.trainer import LightningTrainerFactory, interruptible, start_at

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
    molecules, epochs trained, seconds, peak memory in MiB (of the device, or of the process on a CPU); whether its batches
    were halved for want of memory.
    """

    model: MILTaskAttnMixerWithAux
    metrics: Metrics
    val_logits: np.ndarray
    best_epoch: int
    epochs: int
    seconds: float
    peak_memory_mb: float
    history: tuple[Epoch, ...]
    halved: bool = False

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


class BestEpoch(Callback):
    """Keeps the weights and results of the epoch with the highest val_macro_ap, in memory; tells every epoch to `hook`."""

    def __init__(self, names: tuple[str, ...], hook: EpochHook | None) -> None:
        self.names, self.hook = names, hook
        self.history: list[Epoch] = []
        self.state: dict[str, Any] = {}
        self.epoch, self.logits = -1, np.empty(0)

    @property
    def best(self) -> float:
        """The highest val_macro_ap so far."""
        return self.history[self.epoch].metrics.macro_ap if self.epoch >= 0 else -np.inf

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = pl_module
        if not isinstance(module, MILModule) or module.metrics is None:
            return
        epoch = Epoch(trainer.current_epoch, module.train_loss, module.metrics)
        self.add(epoch, module.label, module.model, module.val_logits)
        self.tell(epoch)

    def add(self, epoch: Epoch, label: str, model: MILTaskAttnMixerWithAux, logits: np.ndarray) -> None:
        """Take an epoch over into the history, its weights and logits too where it is the best."""
        if not np.isfinite(epoch.metrics.macro_ap):
            raise StudyError(label, "no endpoint has a positive to score", do="make other folds")
        better = epoch.metrics.macro_ap > self.best
        self.history.append(epoch)
        if better:
            self.epoch, self.logits = epoch.number, logits
            self.state = {name: value.clone() for name, value in model.state_dict().items()}

    def tell(self, *epochs: Epoch) -> None:
        """Show epochs to the hook, which may raise to stop."""
        for epoch in epochs:
            if self.hook is not None:
                self.hook(epoch)

    def result(
        self, label: str, model: MILTaskAttnMixerWithAux, saver: TrainingCheckpoint, share: float = 1.0, halved: bool = False
    ) -> FoldResult:
        """What the training gave, `model` with the best epoch's weights; `share`: its part of the seconds."""
        model.load_state_dict(self.state)
        metrics = self.history[self.epoch].metrics
        warn_undefined(metrics, label)
        return FoldResult(
            model=model,
            metrics=metrics,
            val_logits=self.logits,
            best_epoch=self.epoch,
            epochs=len(self.history),
            seconds=saver.seconds * share,
            peak_memory_mb=saver.peak_memory_mb,
            history=tuple(self.history),
            halved=halved,
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain types; the history as losses [n] and, by epoch, AP, AUC, prevalence and labels known [n, 4, T]."""
        scores = [[m.ap, m.auc, m.prevalence, m.n_known] for m in (epoch.metrics for epoch in self.history)]
        return {
            "epoch": self.epoch,
            "logits": torch.from_numpy(self.logits),
            "weights": self.state,
            "losses": torch.tensor([epoch.train_loss for epoch in self.history], dtype=torch.float64),
            "scores": torch.from_numpy(np.array(scores, dtype=np.float64)),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The reverse of `state_dict`."""
        self.epoch, self.logits = state_dict["epoch"], state_dict["logits"].numpy()
        self.state = state_dict["weights"]
        history = zip(state_dict["losses"].tolist(), state_dict["scores"].numpy(), strict=True)
        self.history = [Epoch(n, loss, Metrics(self.names, *scores)) for n, (loss, scores) in enumerate(history)]


@dataclass(frozen=True)
class MILFoldTrainer:
    """Trains one fold with early stopping on val_macro_ap and gives back the best epoch.

    `checkpoint_every_s`: seconds between two checkpoints, for trainings that keep one.
    """

    tasks: TaskSet
    max_epochs: int
    patience: int
    checkpoint_every_s: float = EVERY_S

    def identity(self, fold: FoldData, config: HPOConfig) -> dict[str, Any]:
        """What must be the same for a training to go on from its checkpoint."""
        limits = {"max_epochs": self.max_epochs, "patience": self.patience}
        return {**identity(fold, config, self.tasks), **limits}

    def train(
        self,
        fold: FoldData,
        config: HPOConfig,
        hook: EpochHook | None = None,
        checkpoint: Path | None = None,
        halved: bool = False,
    ) -> FoldResult:
        """Train on `fold.train`, validate on `fold.val` after each epoch; `hook` sees every epoch and may raise to stop.

        With a file `checkpoint` the training goes on from there, if it was interrupted (the hook sees the earlier epochs
        again), and what it finds stays there. It must be of the same data and configuration; a StudyError names what differs.
        `halved`: with half the molecules at a time from the start, the effective batch stays.
        """
        reset_peak_memory()
        keep_freed_memory()
        model = MILModelBuilder(config.runtime.seed).build(config, fold)
        module = MILModule(model, fold, config, self.tasks, halved)
        best = BestEpoch(self.tasks.names, hook)
        stopping = EarlyStopping("val_macro_ap", mode="max", patience=self.patience, check_finite=False)
        about = {} if checkpoint is None else self.identity(fold, config)
        saver = TrainingCheckpoint(checkpoint, about, module, self.checkpoint_every_s, best=best, stopping=stopping)
        saver.restore()
        best.tell(*best.history)
        if not saver.done:
            self._fit(module, saver, [best, stopping, saver])
        give_back_memory()
        return best.result(module.label, model, saver, halved=module.halved)

    def _fit(self, module: MILModule, saver: TrainingCheckpoint, callbacks: Sequence[Callback]) -> None:
        fold, config = module.fold, module.hpo
        trainer = LightningTrainerFactory(config.runtime, self.max_epochs).build(callbacks)
        share = trainer.global_rank, trainer.world_size
        loader, val_loader = fold_loaders(fold, config, trainer.strategy.root_device, share)
        try:
            fit(trainer, module, (loader, val_loader), saver)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise StudyError(module.label, "out of memory", do="use a smaller model or a larger device") from error
            raise


def fit(
    trainer: lightning.Trainer, module: lightning.LightningModule, loaders: tuple[Any, Any], saver: TrainingCheckpoint
) -> None:
    """Train from where `saver` begins to the end, with (training, validation) loaders; a stop that is asked for saves first."""
    start_at(trainer, loaders[0].sampler, saver.epoch, saver.batch)
    with saver.stoppable() as stop, interruptible():
        try:
            trainer.fit(module, *loaders)
        except RuntimeError as error:
            if stop.asked is not None:  # the processes that make its batches were asked too, and are gone
                raise Interrupted(stop.asked) from error
            raise
        saver.finish()


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid in float64, [m, T]."""
    return torch.sigmoid(torch.from_numpy(logits).double()).numpy()
