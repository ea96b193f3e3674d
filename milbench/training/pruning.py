"""Pruning of a cross-validated trial: fold by fold, epoch by epoch (seed 4.6), or by the mean of folds trained together."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner, PercentilePruner
from optuna.trial import FrozenTrial

from milbench.metrics import fold_score
from milbench.run_config import PrunerConfig

if TYPE_CHECKING:
    from milbench.training.fold import Epoch


def step_of(fold_position: int, epoch: int, max_epochs: int) -> int:
    """The step at which an epoch is reported: fold position · max_epochs + epoch, so no step is reported twice."""
    return fold_position * max_epochs + epoch


class FoldPercentilePruner(PercentilePruner):
    """Compares a trial's best value *within the current fold* with the others' at the same fold and epoch.

    Optuna's own takes the best over all steps: a good first fold would shield a trial for ever. The warm-up counts the epochs
    of every fold, since a fold's first epochs are as noisy as the first fold's.
    """

    def __init__(self, percentile: float, *, max_epochs: int, n_startup_trials: int, n_warmup_steps: int) -> None:
        super().__init__(percentile, n_startup_trials=n_startup_trials)
        self._max_epochs, self._fold_warmup = max_epochs, n_warmup_steps

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        """Whether `trial` should stop after its last report."""
        step = trial.last_step
        if step is None or step % self._max_epochs < self._fold_warmup:
            return False
        first = step - step % self._max_epochs
        own_fold = FrozenTrial(
            number=trial.number,
            state=trial.state,
            value=None,
            datetime_start=trial.datetime_start,
            datetime_complete=None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            system_attrs=trial.system_attrs,
            intermediate_values={s: v for s, v in trial.intermediate_values.items() if s >= first},
            trial_id=trial._trial_id,
        )
        return super().prune(study, own_fold)


def build_pruner(config: PrunerConfig, max_epochs: int) -> BasePruner:
    """The pruner of a study. `percentile`: the worst that many percent may be pruned, so Optuna is given 100 − percentile."""
    if config.kind == "none":
        return NopPruner()
    keep = 100 - config.percentile if config.kind == "percentile" else 50.0
    return FoldPercentilePruner(
        keep, max_epochs=max_epochs, n_startup_trials=config.startup_trials, n_warmup_steps=config.warmup_steps
    )


class MeanOfFolds:
    """Reports to a trial, where folds are trained together: at step `epoch` the mean over folds of the epoch's scores; a fold
    that has stopped keeps counting with its best epoch's, which is its score. A step is reported once.
    """

    def __init__(self, trial: optuna.Trial | None, min_w: float, watch: Callable[[int, int, "Epoch"], None] | None) -> None:
        self.trial, self.min_w, self.watch = trial, min_w, watch
        self.number = -1 if trial is None else trial.number
        self._next = 0

    def __call__(self, number: int, epochs: Sequence["Epoch"]) -> None:
        for k, epoch in enumerate(epochs):
            if self.watch is not None and epoch.number == number:
                self.watch(self.number, k, epoch)
        self._report(number, epochs)
        if self.trial is not None and self.trial.should_prune():
            raise optuna.TrialPruned(f"epoch {number + 1}: among the worst so far")

    def _report(self, number: int, epochs: Sequence["Epoch"]) -> None:
        if self.trial is not None and number >= self._next:
            self.trial.report(float(np.mean([fold_score(epoch.metrics, self.min_w) for epoch in epochs])), number)
            self._next = number + 1

    def tell_all(self, histories: Sequence[Sequence["Epoch"]]) -> None:
        """Report the epochs of finished folds."""
        best = [max(history, key=lambda epoch: epoch.metrics.macro_ap) for history in histories]
        for number in range(max(len(history) for history in histories)):
            self._report(number, [h[number] if number < len(h) else b for h, b in zip(histories, best, strict=True)])
