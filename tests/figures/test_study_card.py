"""The card of a study shows its trials as they were recorded."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from milbench.figures import study_aps
from milbench.figures.study import trial_aps
from milbench.palette import task_colours

NAMES = ("x", "an_ap_x")


def trial(
    number: int, value: float, aps: dict[str, list[float]], state: TrialState = TrialState.COMPLETE
) -> optuna.trial.FrozenTrial:
    """A trial as a study records it."""
    attributes = {f"ap_{name}": float(np.nanmean(folds)) for name, folds in aps.items()}
    attributes |= {f"fold_{k}_ap_{name}": ap for name, folds in aps.items() for k, ap in enumerate(folds)}
    attributes |= {"fold_0_macro_ap": 0.1, "macro_ap": 0.1}
    found = create_trial(value=value, user_attrs=attributes, state=state)
    found.number = number
    return found


@pytest.fixture
def trials() -> list[optuna.trial.FrozenTrial]:
    """Two complete trials of two endpoints whose names end alike, and one pruned."""
    return [
        trial(0, 0.3, {"x": [0.2, 0.4], "an_ap_x": [0.5, np.nan]}),
        trial(2, 0.6, {"x": [0.6, 0.8], "an_ap_x": [0.7, 0.1]}),
        trial(3, 0.9, {"x": [1.0], "an_ap_x": [1.0]}, TrialState.PRUNED),
    ]


def test_every_complete_trial_has_its_mean_and_the_span_of_its_folds(trials: list):
    table = trial_aps(trials, NAMES)
    rows = table[["trial", "endpoint", "ap", "low", "high", "folds"]].to_numpy().tolist()
    assert rows == [
        [0, "x", pytest.approx(0.3), 0.2, 0.4, 2],
        [0, "an_ap_x", 0.5, 0.5, 0.5, 1],
        [2, "x", pytest.approx(0.7), 0.6, 0.8, 2],
        [2, "an_ap_x", pytest.approx(0.4), 0.1, 0.7, 2],
    ]


def test_the_figure_has_an_endpoint_a_colour_and_marks_the_best_trial(trials: list):
    fig = study_aps(trials, NAMES)
    assert {trace.name: trace.marker.color for trace in fig.data} == task_colours(NAMES)
    np.testing.assert_allclose(fig.data[0].y, [0.3, 0.7])
    np.testing.assert_allclose(fig.data[0].y + fig.data[0].error_y.array, [0.4, 0.8])
    assert fig.layout.shapes[0].x0 == 2 and "0.600" in fig.layout.annotations[0].text


def test_a_study_without_a_complete_trial_says_so():
    assert "No complete trial yet" in study_aps([], NAMES).layout.annotations[0].text


def test_very_many_trials_are_sampled_and_the_figure_says_so(monkeypatch: pytest.MonkeyPatch, trials: list):
    monkeypatch.setattr("milbench.figures.study.MOST_POINTS", 20)
    many = [trial(i, 0.5, {"x": [0.5], "y": [0.4]}) for i in range(30)]
    fig = study_aps(many, ("x", "y"))
    assert sum(len(trace.x) for trace in fig.data) == 20
    assert "10 of 30 trials" in fig.layout.annotations[-1].text
