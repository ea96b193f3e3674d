"""Figures of attention show what was attended to."""

import numpy as np
import pandas as pd
import pytest

from milbench.chem.geometry import skeleton
from milbench.figures import (
    attention_beside,
    attention_map,
    clicked,
    conformers_3d,
    deletion_curves,
    entropy_against_prediction,
    entropy_distribution,
    hit_rate_bars,
)
from milbench.figures.style import MOST_POINTS
from milbench.palette import task_colours

NAMES = ("one", "two")
ATTENTION = np.array([[0.7, 0.1], [0.2, 0.3], [0.1, 0.6]])


def test_the_map_has_a_row_an_endpoint_and_stars_what_is_known():
    key = np.array([[True, False], [False, False], [False, True]])
    fig = attention_map(NAMES, ["a", "b", "c"], ATTENTION, key, chosen="b")
    heat, stars = fig.data
    np.testing.assert_array_equal(heat.z, ATTENTION.T)
    assert np.array(heat.customdata).tolist() == [["a", "b", "c"]] * 2
    assert list(stars.x) == [0, 2] and list(fig.layout.yaxis.ticktext) == list(NAMES)
    assert (fig.layout.shapes[0].x0, fig.layout.shapes[0].x1) == (0.5, 1.5)


def test_a_click_in_the_map_is_of_an_endpoint_and_a_conformer_that_are_there() -> None:
    n, t = ATTENTION.shape
    assert clicked([{"curveNumber": 0}, {"x": n - 1.0, "y": t - 1}], ATTENTION) == (t - 1, n - 1)
    assert clicked(None, ATTENTION) is None
    assert clicked([{"x": n, "y": 0}, {"x": 0, "y": t}], ATTENTION) is None  # of the molecule that was shown before


def test_attention_stands_beside_what_is_known_of_each_conformer():
    table = pd.DataFrame({"conf_id": ["a", "b", "c"], "Gap (eV)": [1.0, 2.0, 3.0], "key_one": [False, True, False]})
    trace = attention_beside(table, "Gap (eV)", ATTENTION[:, 0], "one", NAMES).data[0]
    np.testing.assert_array_equal(trace.x, [1, 2, 3])
    np.testing.assert_array_equal(trace.y, ATTENTION[:, 0])
    assert list(trace.marker.symbol) == ["circle", "star", "circle"]
    plain = attention_beside(table, "Gap (eV)", ATTENTION[:, 1], "two", NAMES).data[0]
    assert set(plain.marker.symbol) == {"circle"} and plain.marker.color == task_colours(NAMES)["two"]


def test_conformers_are_drawn_at_their_places_the_most_attended_last():
    positions = np.random.default_rng(0).normal(size=(2, 3, 3))
    fig = conformers_3d(skeleton("CCO"), positions, ["#0", "#1"], np.array([1.0, 0.3]))
    bonds, atoms = fig.data[2], fig.data[3]
    assert (atoms.name, atoms.opacity, fig.data[0].opacity) == ("#0", 1.0, 0.3)
    drawn = np.stack([atoms.x, atoms.y, atoms.z], axis=1)
    for points in (drawn, positions[0]):  # turned to face the viewer, not bent
        points -= points.mean(axis=0)
    np.testing.assert_allclose(drawn @ drawn.T, positions[0] @ positions[0].T, atol=1e-12)
    assert list(atoms.text) == ["C0", "C1", "O2"] and len(bonds.x) == 2 * 3


def test_a_single_atom_has_no_bonds_and_is_drawn():
    assert len(conformers_3d(skeleton("O"), np.zeros((1, 1, 3)), ["#0"]).data[1].x) == 1


def test_entropies_are_counted_and_single_conformers_left_out():
    entropy = np.array([[0.1, 0.9], [0.12, np.nan], [np.nan, np.nan]])
    fig = entropy_distribution(entropy, NAMES)
    assert [int(trace.y.sum()) for trace in fig.data] == [2, 1]
    assert fig.data[0].name == "one (mean 0.11)" and "n 2" in fig.layout.yaxis.title.text


def test_hit_rates_stand_beside_chance():
    rates = pd.DataFrame({"endpoint": ["two"], "positives": [8], "rate": [0.5], "chance": [0.2], "low": [0.2], "high": [0.8]})
    bar, chance = hit_rate_bars(rates, NAMES).data
    assert (bar.x[0], chance.x[0]) == (0.5, 0.2) and bar.error_x.array[0] == pytest.approx(0.3)
    assert bar.marker.color[0] == task_colours(NAMES)["two"]


def test_a_deletion_curve_has_both_orders_and_the_band_of_chance():
    parts = [("most attended first", [0.9, 0.2]), ("random order", [0.9, 0.6])]
    rows = [(o, k, p, p - 0.1, p + 0.1) for o, ps in parts for k, p in enumerate(ps)]
    fig = deletion_curves(pd.DataFrame(rows, columns=["order", "removed", "probability", "low", "high"]), "one", NAMES)
    lines = {trace.name: list(trace.y) for trace in fig.data if trace.name}
    assert lines == dict(parts)
    np.testing.assert_allclose(fig.data[0].y, [1.0, 0.7])


def test_a_hundred_thousand_molecules_are_sampled_and_the_figure_says_so():
    n = 100_000
    table = pd.DataFrame({"ID": np.arange(n).astype(str), "label": "negative", "prediction": 0.5, "entropy": 0.5})
    fig = entropy_against_prediction(table, "one", NAMES)
    assert sum(len(trace.x) for trace in fig.data) == MOST_POINTS < 20_000
    assert f"{MOST_POINTS:,} of 100,000 molecules" in fig.layout.annotations[0].text
