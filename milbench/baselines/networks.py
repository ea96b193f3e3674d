"""One fold of one of our networks: with another pooling, fewer conformers, or none."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from milbench.configs import HPOConfig
from milbench.data.cv import FoldData, MILCVData
from milbench.data.folds import stratified_folds
from milbench.training.evaluator import ModelEvaluator
from milbench.training.fold import MILFoldTrainer, probabilities

INNER = 10
"""One in so many training molecules is set apart where they choose the epoch."""


@dataclass(frozen=True)
class NetworkRun:
    """A network on the folds of `data`, its epoch chosen by the fold that is scored ("fold") or by training molecules."""

    data: MILCVData
    config: HPOConfig
    max_epochs: int
    patience: int
    monitor: str = "fold"

    def predict(self, k: int, others: np.ndarray, checkpoint: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Probabilities [m, T] of fold k's molecules, then of `others`; and what is to be told of the training.

        It goes on from `checkpoint`.
        """
        trainer = MILFoldTrainer(self.data.tasks, self.max_epochs, self.patience)
        fold = self.data.fold(k)
        seen = fold if self.monitor == "fold" else self._inner(fold)
        result = trainer.train(seen, self.config, None, checkpoint)
        told = {"seconds": round(result.seconds, 3), "best_epoch": result.best_epoch, "epochs": result.epochs}
        told |= {"peak_memory_mb": round(result.peak_memory_mb, 1)}
        evaluator = ModelEvaluator(result.model, seen.scaled, self.data.tasks)
        own = probabilities(result.val_logits) if self.monitor == "fold" else evaluator.predict(fold.val).probability
        return (np.concatenate([own, evaluator.predict(others).probability]) if len(others) else own), told

    def _inner(self, fold: FoldData) -> FoldData:
        """The fold's training molecules, a tenth of which monitor; its own validation molecules are not in it."""
        data = self.data
        part = stratified_folds(data.bags.raw.y[fold.train], INNER, self.config.runtime.seed)
        fold_of = np.full(len(data.bags), -1, dtype=np.int64)
        fold_of[fold.train] = np.where(part == 0, 0, 1)
        inner = dataclasses.replace(data, fold_of=fold_of)
        return dataclasses.replace(inner.fold(0), number=fold.number)
