"""Which parameters mattered, for the score or for one endpoint, and how much of that could be chance."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from milbench.review.study import StudyView
from milbench.seeds import stream

LEAST = 10
"""Complete trials below which importance is not computed."""
TOP = 5
"""Trials that count as the good ones, at least; else a tenth of all."""


@lru_cache(maxsize=32)
def importance(view: StudyView, target: str = "value", *, shuffles: int = 40) -> pd.DataFrame:
    """How much each searched parameter decided whether a trial is among the best by `target`, a column of view.trials.

    PED-ANOVA (Watanabe et al. 2023). parameter, importance (they sum to 1), chance: the 95th percentile of the importance
    when the targets are shuffled, on the same scale: below it a parameter cannot be told from luck. Best first; empty with
    fewer than LEAST complete trials. Computed once for a view.
    """
    known = view.complete.dropna(subset=[target]).sort_values("number")
    if len(known) < LEAST:
        return pd.DataFrame(columns=["parameter", "importance", "chance"])
    numbers = set(known["number"])
    trials = [trial for trial in view.frozen if trial.number in numbers]
    values, rng = known[target].to_numpy(float), stream(0, "importance", target)
    found = _ped_anova(trials, values)
    drawn = [_ped_anova(trials, rng.permutation(values)) for _ in range(shuffles)]
    total = sum(found.values()) or 1.0
    table = pd.DataFrame(
        {
            "parameter": list(found),
            "importance": [value / total for value in found.values()],
            "chance": [float(np.quantile([one[name] for one in drawn], 0.95)) / total for name in found],
        }
    )
    return table.sort_values("importance", ascending=False, ignore_index=True, kind="stable")


def _ped_anova(trials: Sequence[FrozenTrial], values: np.ndarray) -> dict[str, float]:
    """Importance of every parameter of trials that had these values [n], not normalised."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of every study in memory
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=float(value))
            for trial, value in zip(trials, values, strict=True)
        ]
    )
    return PedAnovaImportanceEvaluator(target_quantile=max(0.1, TOP / len(trials))).evaluate(study)
