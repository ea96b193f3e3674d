"""Pruning sees every fold: scripted curves through the real hook, the real pruner and an Optuna study."""

import warnings
from collections.abc import Iterator

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner, PercentilePruner
from optuna.trial import FrozenTrial, TrialState

from milbench.run_config import PrunerConfig
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.pruning import build_pruner, step_of
from runs import Curves, cv_run, level, scripted, small_cv

EPOCHS = 6
FAST = PrunerConfig(startup_trials=4, warmup_steps=2)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Optuna's lines out of the way; its warnings stay errors."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def run(curves: Curves, pruner: PrunerConfig | BasePruner = FAST, epochs: int = EPOCHS) -> list[FrozenTrial]:
    """The trials of a study whose folds score as scripted."""
    validator = MILCrossValidator(small_cv(len(curves[0])), cv_run(max_epochs=epochs))
    pruner = build_pruner(pruner, epochs) if isinstance(pruner, PrunerConfig) else pruner
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    with scripted(curves):
        study.optimize(lambda trial: validator.objective(trial).value, n_trials=len(curves))
    return study.trials


def flat(*folds: float) -> list[list[float]]:
    return level(*folds, epochs=EPOCHS)


GOOD = [flat(0.50 + 0.01 * i, 0.50 + 0.01 * i, 0.50 + 0.01 * i) for i in range(5)]
LATE = flat(0.90, 0.05, 0.90)
"""Brilliant in the first fold, hopeless from the second on."""


def fold_of_last(trial: FrozenTrial) -> int:
    assert trial.last_step is not None
    return trial.last_step // EPOCHS


def test_every_epoch_of_every_fold_is_stored_and_no_step_twice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns when a step is reported again
        trials = run([[[0.1, 0.2, 0.3], [0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 0.95, 0.99]], *GOOD[:2]], PrunerConfig("none"))
    first = {0: 0.1, 1: 0.2, 2: 0.3, 6: 0.4, 7: 0.5, 12: 0.6, 13: 0.7, 14: 0.8, 15: 0.9, 16: 0.95, 17: 0.99}
    assert trials[0].intermediate_values == pytest.approx(first)
    assert trials[0].value == pytest.approx((0.3 + 0.5 + 0.99) / 3)
    for trial in trials[1:]:
        assert sorted(trial.intermediate_values) == list(range(3 * EPOCHS))


def test_steps_of_different_folds_never_meet() -> None:
    steps = [step_of(fold, epoch, 150) for fold in range(5) for epoch in range(150)]
    assert len(set(steps)) == len(steps)
    assert step_of(2, 7, 150) == 307


def test_a_trial_that_is_hopeless_from_its_second_fold_on_is_stopped_there() -> None:
    late = run([*GOOD, LATE])[-1]
    assert late.state == TrialState.PRUNED
    assert late.last_step == step_of(1, FAST.warmup_steps, EPOCHS)


def test_optunas_own_pruner_would_let_it_run_to_the_end() -> None:
    own = PercentilePruner(75, n_startup_trials=FAST.startup_trials, n_warmup_steps=FAST.warmup_steps)
    late = run([*GOOD, LATE], own)[-1]
    assert late.state == TrialState.COMPLETE


def test_the_first_trials_are_never_stopped_and_the_next_one_is() -> None:
    hopeless = flat(0.01, 0.01, 0.01)
    trials = run([*GOOD[: FAST.startup_trials - 1], hopeless, hopeless])
    assert [trial.state for trial in trials[-2:]] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_no_trial_is_stopped_in_the_first_epochs_of_any_fold() -> None:
    recovers = [[0.0, 0.0, 0.6, 0.6, 0.6, 0.6]] * 3
    assert run([*GOOD, recovers])[-1].state == TrialState.COMPLETE
    hopeless = flat(0.01, 0.01, 0.01)
    assert run([*GOOD, hopeless])[-1].last_step == FAST.warmup_steps


def test_the_worst_quarter_may_go_and_the_median_pruner_takes_half() -> None:
    below_the_middle = flat(0.514, 0.514, 0.514)  # better than two of five
    at_the_bottom = flat(0.502, 0.502, 0.502)  # better than one of five

    def state(trial: list[list[float]], kind: str) -> TrialState:
        return run([*GOOD, trial], PrunerConfig(kind, startup_trials=4, warmup_steps=2))[-1].state  # type: ignore[arg-type]

    assert state(below_the_middle, "percentile") == TrialState.COMPLETE
    assert state(below_the_middle, "median") == TrialState.PRUNED
    assert state(at_the_bottom, "percentile") == TrialState.PRUNED
    assert state(flat(0.0, 0.0, 0.0), "none") == TrialState.COMPLETE


def test_a_good_fold_does_not_save_a_trial_and_a_bad_one_does_not_condemn_it() -> None:
    close_call = flat(0.512, 0.9, 0.9)
    assert run([*GOOD, close_call])[-1].state == TrialState.COMPLETE
    assert fold_of_last(run([*GOOD, flat(0.9, 0.9, 0.0)])[-1]) == 2


def synthetic_curves(seed: int, trials: int, folds: int = 3, epochs: int = 60, patience: int = 20) -> Curves:
    """Saturating curves with early stopping.

    Score of epoch e: a (1 - exp(-(e+1)/tau)) + N(0, 0.012), where a = quality + fold effect + N(0, 0.02), the quality of a
    trial is N(0.35, 0.06), the effect of a fold N(0, 0.02), tau uniform in 3 to 15. A fold ends 20 epochs after its best, or
    at 60.
    """
    rng = np.random.default_rng(seed)
    effect = rng.normal(0, 0.02, folds)
    out = []
    for quality in rng.normal(0.35, 0.06, trials):
        fold_curves = []
        for k in range(folds):
            height, tau = quality + effect[k] + rng.normal(0, 0.02), rng.uniform(3, 15)
            curve = height * (1 - np.exp(-np.arange(1, epochs + 1) / tau)) + rng.normal(0, 0.012, epochs)
            best = np.maximum.accumulate(curve)
            stalled = [e for e in range(patience, epochs) if best[e] == best[e - patience]]
            fold_curves.append(curve[: stalled[0] + 1 if stalled else epochs].tolist())
        out.append(fold_curves)
    return out


@pytest.mark.slow
def test_the_share_that_is_pruned_is_what_the_documentation_says() -> None:
    """Mean of 8 studies of 50 trials, startup 10, warm-up 8 (ARCHITECTURE.md): 0.64, 0.73, 0.79 of the trials."""
    kinds = {"ours": PrunerConfig(), "median": PrunerConfig("median"), "literal": PrunerConfig(percentile=75)}
    share = {}
    for name, config in kinds.items():
        studies = [run(synthetic_curves(seed, 50), config, epochs=60) for seed in range(8)]
        share[name] = np.mean([trial.state == TrialState.PRUNED for trials in studies for trial in trials])
    assert share["ours"] == pytest.approx(0.64, abs=0.05)
    assert share["median"] == pytest.approx(0.73, abs=0.05)
    assert share["literal"] == pytest.approx(0.79, abs=0.05)
    assert share["ours"] < share["median"] < share["literal"]
