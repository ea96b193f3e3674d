"""All folds of a trial trained at once: one step trains every fold, each ends where it would alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.cv import FoldData
from milbench.files import content_hash
from milbench.models.builder import MILModelBuilder
from milbench.models.stacked import why_not_stacked
from milbench.training.fold import BestEpoch, Epoch, FoldResult, MILFoldTrainer, fit
from milbench.training.folds_loader import folds_loaders
from milbench.training.folds_module import FoldsModule
from milbench.training.memory import give_back_memory, keep_freed_memory, reset_peak_memory
from milbench.training.resume import TrainingCheckpoint
from milbench.training.trainer import LightningTrainerFactory

EpochsHook = Callable[[int, Sequence[Epoch]], None]
"""Called with an epoch's number and what it gave for each fold; for one that has stopped, its best epoch."""


def worth_it(choice: str, runtime: RuntimeConfig) -> bool:
    """Whether `--parallel_folds` auto, on or off means folds together here: auto does on a GPU, where launches cost most.

    The scaler of 16-bit floats is one for all, so that a fold that overflows would hold up the others: never there.
    """
    gpu = torch.cuda.is_available() and runtime.accelerator in {"auto", "gpu", "cuda"}
    return choice == "on" or (choice == "auto" and gpu and not runtime.precision.startswith("16"))


class _Folds(Callback):
    """Keeps each fold's best epoch, lets a fold leave that has had its `patience`, and tells every epoch to `hook`."""

    def __init__(self, folds: Sequence[FoldData], names: tuple[str, ...], patience: int, hook: EpochsHook | None) -> None:
        self.folds, self.patience, self.hook = folds, patience, hook
        self.best = [BestEpoch(names, None) for _ in folds]

    @property
    def live(self) -> list[int]:
        """Folds that have not stopped."""
        return [k for k, best in enumerate(self.best) if len(best.history) - 1 - best.epoch < self.patience or not best.history]

    @property
    def epochs(self) -> int:
        """Epochs that there have been."""
        return max(len(best.history) for best in self.best)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = pl_module
        assert isinstance(module, FoldsModule)
        for k in module.live:
            epoch = Epoch(trainer.current_epoch, module.train_loss[k], module.metrics[k])
            self.best[k].add(epoch, self.folds[k].label, module.model_of(k), module.val_logits[k])
        self.tell(trainer.current_epoch)
        module.keep(self.live)
        trainer.should_stop = trainer.should_stop or not self.live

    def tell(self, number: int) -> None:
        """Show an epoch to the hook, which may raise to stop."""
        if self.hook is not None:
            self.hook(number, [b.history[number if number < len(b.history) else b.epoch] for b in self.best])

    def state_dict(self) -> dict[str, Any]:
        """Each fold's best epoch and history."""
        return {str(k): best.state_dict() for k, best in enumerate(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The reverse of `state_dict`."""
        for k, best in enumerate(self.best):
            best.load_state_dict(state_dict[str(k)])


@dataclass(frozen=True)
class FoldsTrainer:
    """Trains the folds of one data set together, each as `alone` would: same batches, epochs, patience and best epoch.

    What dropout draws is another: with dropout off the results are those of one fold after the other within rounding.
    """

    alone: MILFoldTrainer

    def identity(self, folds: Sequence[FoldData], config: HPOConfig) -> dict[str, Any]:
        """What must be the same for a training to go on from its checkpoint."""
        molecules = content_hash(*(rows for fold in folds for rows in (fold.train, fold.val)))[:16]
        return {**self.alone.identity(folds[0], config), "molecules": molecules, "fold": f"{len(folds)} together"}

    def why_not(self, folds: Sequence[FoldData], config: HPOConfig) -> str:
        """Why these folds cannot be trained together; "" where they can."""
        builder = MILModelBuilder(config.runtime.seed)
        return why_not_stacked([builder.build(config, fold) for fold in folds])

    def train(
        self,
        folds: Sequence[FoldData],
        config: HPOConfig,
        hook: EpochsHook | None = None,
        checkpoint: Path | None = None,
    ) -> list[FoldResult]:
        """Train every fold; `hook` sees every epoch and may raise to stop. Goes on from the file `checkpoint` as a fold does.

        A fold's seconds are its share of the whole, its peak memory is that of all.
        """
        reset_peak_memory()
        keep_freed_memory()
        builder = MILModelBuilder(config.runtime.seed)
        models = [builder.build(config, fold) for fold in folds]
        lengths = [len(fold.sampler(config)) for fold in folds]
        module = FoldsModule(models, folds, config, self.alone.tasks, lengths)
        state = _Folds(folds, self.alone.tasks.names, self.alone.patience, hook)
        about = {} if checkpoint is None else self.identity(folds, config)
        saver = TrainingCheckpoint(checkpoint, about, module, self.alone.checkpoint_every_s, folds=state)
        saver.restore()
        module.keep(state.live)
        for number in range(state.epochs):
            state.tell(number)
        if not saver.done:
            trainer = LightningTrainerFactory(config.runtime, self.alone.max_epochs).build([state, saver])
            loaders = folds_loaders(folds, config, trainer.strategy.root_device)
            loaders[0].live = loaders[1].live = module.live
            fit(trainer, module, loaders, saver)
        give_back_memory()
        share = 1 / len(folds)
        return [
            best.result(fold.label, module.model_of(k), saver, share)
            for k, (fold, best) in enumerate(zip(folds, state.best, strict=True))
        ]
