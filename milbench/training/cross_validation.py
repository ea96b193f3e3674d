"""The objective of a study: one configuration trained on every fold (seed 1.2 and 4.5)."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pandas as pd

from milbench.configs import HPOConfig, search_space
from milbench.data.cv import MILCVData
from milbench.export import scored_columns
from milbench.files import content_hash
from milbench.metrics import fold_score, trial_value
from milbench.run_config import CVRunConfig
from milbench.stopping import stop_signals
from milbench.training.fold import Epoch, FoldResult, MILFoldTrainer, probabilities
from milbench.training.memory import free_memory, is_out_of_memory
from milbench.training.pruning import MeanOfFolds, step_of
from milbench.training.together import FoldsTrainer
from milbench.training.work import trial_work

log = logging.getLogger(__name__)

EpochWatch = Callable[[int, int, Epoch], None]
"""Called with (trial number, fold position, epoch) after every epoch."""


HookOf = Callable[[optuna.Trial | None, int, float], Callable[[Epoch], None]]


@dataclass(frozen=True)
class CVResult:
    """All folds of one configuration."""

    config: HPOConfig
    folds: tuple[FoldResult, ...]

    @property
    def value(self) -> float:
        """The trial's value: the mean fold score."""
        return trial_value(fold.score(self.config.objective.min_w) for fold in self.folds)

    @property
    def macro_ap(self) -> float:
        """Mean over folds of the macro AP."""
        return float(np.mean([fold.metrics.macro_ap for fold in self.folds]))


@dataclass(frozen=True)
class MILCrossValidator:
    """Trains a configuration on the folds of `data`, one after the other or `together`, reporting every epoch to the trial.

    In the folder `work` trials keep what they have trained until they end: finished folds, and how far the next one is.
    """

    data: MILCVData
    run: CVRunConfig
    watch: EpochWatch | None = None
    work: Path | None = None
    together: bool = False

    def config_of(self, trial: optuna.Trial) -> HPOConfig:
        """The configuration that this trial asks for; a stop waits until its storage has all of it."""
        pins = {"min_w": self.run.min_w, **self.run.pins}
        if self.run.search_min_w:
            pins.pop("min_w")
        run = self.run
        with stop_signals(defer=True):
            params = search_space(trial, self.data.tasks, fixed=pins, ranges=run.ranges, search_min_w=run.search_min_w)
        return HPOConfig.from_params(params, self.data.tasks, runtime=self.run.runtime, where=f"trial {trial.number}")

    def objective(self, trial: optuna.Trial) -> CVResult:
        """Train all folds; raises TrialPruned where the pruner stops it. Each finished fold is stored on the trial."""
        return self.evaluate(self.config_of(trial), trial)

    def evaluate(self, config: HPOConfig, trial: optuna.Trial | None = None) -> CVResult:
        """Train `config` on every fold; with a trial, report to it and store each fold's figures.

        What an interrupted trial of the same parameters has left in `work` is taken over, its epochs are reported again.
        """
        trainer = MILFoldTrainer(self.data.tasks, self.run.max_epochs, self.run.patience)
        with self._kept(trainer, config, trial) as folder:
            if self.together:
                results = self._all_folds(trainer, config, trial, folder)
            else:
                results = self._each_fold(trainer, config, trial, folder, self._hook)
        return CVResult(config, tuple(results))

    def _each_fold(
        self, trainer: MILFoldTrainer, config: HPOConfig, trial: optuna.Trial | None, folder: Path | None, hook_of: HookOf
    ) -> list[FoldResult]:
        """The folds one after the other."""
        results: list[FoldResult] = []
        for k in range(self.data.n_folds):
            checkpoint = None if folder is None else folder / f"fold_{k}.ckpt"
            halved = any(result.halved for result in results)
            hook = hook_of(trial, k, config.objective.min_w)
            results.append(trainer.train(self.data.fold(k), config, hook, checkpoint, halved))
            self._tell(trial, k, results[-1], config)
        return results

    def _all_folds(
        self, trainer: MILFoldTrainer, config: HPOConfig, trial: optuna.Trial | None, folder: Path | None
    ) -> list[FoldResult]:
        """The folds together; where that cannot be, one after the other, and the trial is told what it would have been told."""
        folds = [self.data.fold(k) for k in range(self.data.n_folds)]
        means = MeanOfFolds(trial, config.objective.min_w, self.watch)
        why = FoldsTrainer(trainer).why_not(folds, config)
        if not why:
            try:
                checkpoint = None if folder is None else folder / "folds.ckpt"
                results = FoldsTrainer(trainer).train(folds, config, means, checkpoint)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                why = "out of memory"
            else:
                for k, result in enumerate(results):
                    self._tell(trial, k, result, config)
                return results
        free_memory()
        log.warning("trial %d: folds are trained one after the other, not together: %s", means.number, why)
        results = self._each_fold(trainer, config, trial, folder, self._watching)
        means.tell_all([result.history for result in results])
        return results

    def _watching(self, trial: optuna.Trial | None, k: int, min_w: float) -> Callable[[Epoch], None]:
        """A hook that shows a fold's epochs and reports none."""
        return lambda epoch: None if self.watch is None else self.watch(-1 if trial is None else trial.number, k, epoch)

    def _kept(
        self, trainer: MILFoldTrainer, config: HPOConfig, trial: optuna.Trial | None
    ) -> AbstractContextManager[Path | None]:
        """The folder in `work` of this configuration on these folds, None without."""
        if self.work is None or trial is None:
            return nullcontext()
        about = json.dumps(trainer.identity(self.data.fold(0), config), sort_keys=True)
        return trial_work(self.work, content_hash(self.data.fold_of, text=about)[:16], trial.number)

    def _tell(self, trial: optuna.Trial | None, k: int, result: FoldResult, config: HPOConfig) -> None:
        """Log a fold's figures and store them on the trial."""
        number, min_w = -1 if trial is None else trial.number, config.objective.min_w
        best = f"best epoch {result.best_epoch + 1} of {result.epochs}"
        scores = f"score={result.score(min_w):.4f} macro_ap={result.metrics.macro_ap:.4f} min_ap={result.metrics.min_ap:.4f}"
        log.info("trial %d fold %d/%d: %s, %s, %.0f s", number, k + 1, self.data.n_folds, scores, best, result.seconds)
        if trial is None:
            return
        for name, value in result.scalars(min_w).items():
            trial.set_user_attr(f"fold_{k}_{name}", value)
        if result.halved and "out_of_memory" not in trial.user_attrs:
            half = (config.optimization.batch_size + 1) // 2
            trial.set_user_attr("out_of_memory", f"fold {k + 1}: {half} molecules at a time, the effective batch unchanged")

    def _hook(self, trial: optuna.Trial | None, k: int, min_w: float) -> Callable[[Epoch], None]:
        show = self._watching(trial, k, min_w)

        def hook(epoch: Epoch) -> None:
            show(epoch)
            if trial is None:
                return
            trial.report(fold_score(epoch.metrics, min_w), step_of(k, epoch.number, self.run.max_epochs))
            if trial.should_prune():
                raise optuna.TrialPruned(f"fold {k + 1}, epoch {epoch.number + 1}: among the worst so far")

        return hook

    def out_of_fold(self, result: CVResult) -> pd.DataFrame:
        """Out-of-fold probabilities: ID, fold and `scored_columns` of every validated molecule, in the data's order."""
        frames = []
        for k, fold in enumerate(result.folds):
            data = self.data.fold(k)
            columns = scored_columns(data.bags, data.val, probabilities(fold.val_logits), self.data.tasks)
            frames.append(pd.DataFrame({"ID": data.bags.ids[data.val], "fold": k, "place": data.val} | columns))
        return pd.concat(frames).sort_values("place", ignore_index=True).drop(columns="place")
