"""The figures of a study show the numbers that they are given, and say what is missing."""

import numpy as np
import pandas as pd
import pytest

from milbench.figures import (
    batches,
    compared_curves,
    composition,
    fold_task_heatmap,
    history,
    importance_bars,
    slices,
    trial_curves,
)
from milbench.palette import task_colours

TASKS = ("a", "b")


def trials(*values: float) -> pd.DataFrame:
    """Trials 0, 1, … with these values; NaN: pruned."""
    states = ["pruned" if np.isnan(value) else "complete" for value in values]
    return pd.DataFrame({"number": range(len(values)), "state": states, "value": values})


def curves() -> pd.DataFrame:
    """Two trials, two folds, three epochs; trial 1 stopped in fold 0 after epoch 1."""
    rows = [
        {"trial": t, "fold": k, "epoch": e, "score": s, "val_macro_ap": s, "ap_a": s, "ap_b": s / 2}
        for t, k, scores in ((0, 0, (0.2, 0.6, 0.4)), (0, 1, (0.1, 0.2, 0.3)), (1, 0, (0.1, 0.15)))
        for e, s in enumerate(scores)
    ]
    return pd.DataFrame(rows)


def test_the_heat_map_holds_every_fold_and_their_mean_and_a_dash_where_there_is_none() -> None:
    folds = pd.DataFrame({"fold": [0, 1], "ap_a": [0.2, 0.6], "ap_b": [0.5, np.nan]})
    heat = fold_task_heatmap(folds, TASKS).data[0]
    np.testing.assert_allclose(heat.z, [[0.2, 0.6, 0.4], [0.5, np.nan, 0.5]])
    assert list(heat.x) == ["fold 1", "fold 2", "mean"]
    assert [list(row) for row in heat.text] == [["0.200", "0.600", "0.400"], ["0.500", "–", "0.500"]]


def test_the_curves_of_a_trial_have_a_panel_a_fold_a_line_an_endpoint_and_the_best_epoch() -> None:
    one = curves()[curves()["trial"] == 0]
    fig = trial_curves(one, TASKS, 2)
    lines = {(trace.xaxis, trace.name): list(trace.y) for trace in fig.data if trace.name}
    assert lines["x", "a"] == [0.2, 0.6, 0.4]
    assert lines["x2", "b"] == [0.05, 0.1, 0.15]
    assert {trace.name: trace.line.color for trace in fig.data if trace.name in TASKS} == task_colours(TASKS)
    assert [(trace.xaxis, trace.x[0]) for trace in fig.data if not trace.name] == [("x", 2), ("x2", 3)]
    assert [list(trace.x) for trace in fig.data if trace.name == "a"] == [[1, 2, 3], [1, 2, 3]]
    assert [title.text for title in fig.layout.annotations] == ["fold 1", "fold 2"]
    assert [(axis.dtick, axis.tick0) for axis in fig.select_xaxes()] == [(1, 1), (1, 1)]


def test_compared_trials_have_a_colour_each_and_a_cross_where_one_was_pruned() -> None:
    stops = pd.DataFrame({"trial": [1], "fold": [0], "epoch": [1], "score": [0.15]})
    fig = compared_curves(curves(), stops, [0, 1], "score", 2)
    crosses = [trace for trace in fig.data if trace.mode == "markers"]
    assert [(list(cross.x), list(cross.y), cross.name) for cross in crosses] == [([2], [0.15], "trial 1 pruned")]
    assert len({trace.line.color for trace in fig.data if trace.mode == "lines"}) == 2


def test_the_history_never_falls_and_rings_what_is_selected() -> None:
    fig = history(trials(0.5, 0.4, np.nan, 0.6), [1])
    assert list(fig.data[0].y) == [0.5, 0.5, 0.6]
    assert list(fig.data[1].x) == [0, 1, 3]
    assert list(fig.data[1].marker.line.width) == [0, 3, 0]


def test_a_parameter_that_chance_could_explain_is_drawn_pale() -> None:
    table = pd.DataFrame({"parameter": ["lr", "idle"], "importance": [0.8, 0.2], "chance": [0.3, 0.4]})
    bars = importance_bars(table).data[0]
    assert list(bars.y) == ["idle", "lr"]
    assert list(bars.marker.opacity) == [0.35, 1.0]


@pytest.mark.parametrize(("values", "log"), [([1e-4, 1e-2], True), (["GELU", "SiLU"], False)])
def test_a_slice_has_a_panel_an_endpoint_and_a_point_a_trial(values: list, log: bool) -> None:
    table = pd.DataFrame({"number": [0, 1], "p": values, "ap_a": [0.1, 0.2], "ap_b": [0.3, 0.4]})
    fig = slices(table, "p", TASKS, log=log)
    assert [list(trace.y) for trace in fig.data] == [[0.1, 0.2], [0.3, 0.4]]
    assert fig.layout.xaxis.type == ("log" if log else None)


def test_a_batch_as_composed_stands_beside_plain_shuffling() -> None:
    summary = pd.DataFrame(
        {"endpoint": TASKS, "mean": [4.0, 2.0], "least": [3, 1], "most": [6, 2], "shuffled": [1.0, 0.1], "repeats": [1.5, 8.0]}
    )
    plain, composed = composition(summary, 64).data
    assert list(composed.y) == ["b", "a"]
    assert (list(plain.x), list(composed.x)) == ([0.1, 1.0], [2.0, 4.0])
    assert list(composed.error_x.array) == [0.0, 2.0]
    assert list(composed.error_x.arrayminus) == [1.0, 1.0]
    assert list(composed.marker.color) == [task_colours(TASKS)["b"], task_colours(TASKS)["a"]]


def test_batches_are_drawn_for_the_first_epoch_alone() -> None:
    preview = pd.DataFrame({"epoch": [0, 0, 1], "batch": [0, 1, 0], "t0": [3, 4, 9], "t1": [1, 0, 9]})
    assert [list(trace.y) for trace in batches(preview, TASKS).data] == [[3, 4], [1, 0]]
