"""What a figure shows is what the statistics say."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from sklearn.metrics import average_precision_score

from milbench.data.comparison import compare
from milbench.data.curves import calibration, histogram, thresholds
from milbench.data.results import OUT_OF_FOLD, Result
from milbench.data.scoring import score
from milbench.figures import (
    calibration_curves,
    differences,
    pr_curves,
    roc_curves,
    score_distribution,
    score_intervals,
    threshold_curves,
)
from milbench.palette import task_colours

NAMES = ("one", "two", "three")


@pytest.fixture
def result() -> Result:
    """Three endpoints, the last without a positive."""
    rng = np.random.default_rng(0)
    y = (rng.random((150, 3)) < 0.3).astype(float)
    y[:, 2] = 0
    return Result(
        "a", OUT_OF_FOLD, NAMES, np.arange(150).astype(str), y, 0.5 * rng.random(y.shape) + 0.3 * y, np.full(y.shape, np.nan)
    )


def traces(fig: go.Figure, *, mode: str = "markers") -> list:
    """The traces that carry data."""
    return [trace for trace in fig.data if trace.mode == mode and trace.x is not None and trace.x[0] is not None]


def test_intervals_stand_where_the_bootstrap_puts_them(result: Result):
    table = score(result.y, result.p, result.names, draws=200).table().assign(series="out of fold")
    for metric in ("ap", "auc"):
        chance, dots = traces(score_intervals(table, metric))
        np.testing.assert_array_equal(dots.x, table[metric])
        np.testing.assert_allclose(dots.x + dots.error_x.array, table[f"{metric}_high"])
        np.testing.assert_allclose(dots.x - dots.error_x.arrayminus, table[f"{metric}_low"])
        assert dots.marker.color == tuple(task_colours(NAMES).values())
        expected = table["positives"] / table["n"] if metric == "ap" else 0.5
        np.testing.assert_allclose(chance.x, expected)
        assert dots.text[0] == f"n 150, {table['positives'][0]} positives"


def test_two_series_keep_their_endpoint_colours_and_differ_in_symbol(result: Result):
    table = score(result.y, result.p, result.names, draws=100).table()
    both = pd.concat([table.assign(series="a"), table.assign(series="b")])
    fig = score_intervals(both)
    dots = [trace for trace in traces(fig) if trace.error_x.array is not None]
    assert dots[0].marker.color == dots[1].marker.color and dots[0].marker.symbol != dots[1].marker.symbol
    assert [trace.name for trace in fig.data if trace.showlegend is not False] == ["prevalence", "a", "b"]


def test_curves_are_the_thresholds_and_their_area_the_average_precision(result: Result):
    cuts = {name: thresholds(result.y[:, t], result.p[:, t]) for t, name in enumerate(NAMES)}
    lines = [trace for trace in pr_curves(cuts).data if trace.name]
    assert [line.name for line in lines[:2]] == [f"{n} ({int(result.y[:, t].sum())} of 150)" for t, n in enumerate(NAMES[:2])]
    precision, recall = np.array(lines[0].y), np.array(lines[0].x)
    area = (np.diff(recall, prepend=0) * precision).sum()
    assert area == pytest.approx(average_precision_score(result.y[:, 0], result.p[:, 0]))
    roc = roc_curves(cuts).data[0]
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)


def test_an_endpoint_without_any_label_leaves_the_colours_of_the_others(result: Result):
    result.y[:, 0] = np.nan
    cuts = {name: thresholds(result.y[:, t], result.p[:, t]) for t, name in enumerate(NAMES)}
    for fig in (pr_curves(cuts), roc_curves(cuts)):
        line = next(trace for trace in fig.data if trace.name and trace.name.startswith("two"))
        assert line.line.color == task_colours(NAMES)["two"]


def test_calibration_shows_the_bins_and_their_intervals(result: Result):
    table = calibration(result.y[:, 0], result.p[:, 0])
    points = traces(calibration_curves({"one": table}), mode="lines+markers")[0]
    np.testing.assert_array_equal(points.y, table["observed"])
    np.testing.assert_allclose(points.y + points.error_y.array, table["high"])


def test_the_distribution_counts_every_molecule_and_marks_the_threshold(result: Result):
    fig = score_distribution(histogram(result.y[:, 0], result.p[:, 0]), 0.4)
    assert {bar.name: int(bar.y.sum()) for bar in fig.data} == {
        f"{int((result.y[:, 0] == v).sum())} {kind}": (result.y[:, 0] == v).sum()
        for v, kind in ((0, "negatives"), (1, "positives"))
    }
    assert 0.4 in [shape.x0 for shape in fig.layout.shapes]


def test_the_share_called_positive_falls_as_the_threshold_rises(result: Result):
    called = threshold_curves(thresholds(result.y[:, 0], result.p[:, 0]), 0.4).data[2]
    assert called.y[-1] == 1 and (np.diff(called.y) >= 0).all() and (np.diff(called.x) <= 0).all()


def test_what_is_not_distinguishable_is_hollow(result: Result):
    better = Result(
        "b", *(getattr(result, n) for n in ("part", "names", "ids", "y")), result.p + result.y * [0, 0.5, 0], result.weights
    )
    table = compare(result, better, draws=200).table
    part = table[table["metric"] == "ROC-AUC"]
    dots = differences(table, "ROC-AUC", ["a", "b"]).data[0]
    np.testing.assert_array_equal(dots.x, part["difference"])
    assert [s == "circle" for s in dots.marker.symbol] == part["distinguishable"].tolist()
    assert dots.marker.symbol[1] == "circle" and dots.marker.symbol[0] == "circle-open"
