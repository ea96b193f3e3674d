"""Thresholds, calibration and histograms agree with scikit-learn and with counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve, roc_curve

from milbench.data.curves import best_threshold, calibration, confusion, histogram, outcome, thresholds, wilson


def drawn(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels with some missing, scores with ties, weights."""
    rng = np.random.default_rng(seed)
    y = rng.choice([0.0, 1.0, np.nan], n, p=[0.6, 0.3, 0.1])
    y[:2] = 0, 1
    return y, np.round(rng.random(n), 2), rng.uniform(0.2, 2, n)


@given(st.integers(0, 5000))
def test_the_curves_are_those_of_scikit_learn(seed):
    y, p, w = drawn(seed)
    known = np.isfinite(y)
    cuts = thresholds(y, p, w)
    precision, recall, at = precision_recall_curve(y[known], p[known], sample_weight=w[known])
    np.testing.assert_allclose(cuts["precision"], precision[:-1][::-1])
    np.testing.assert_allclose(cuts["recall"], recall[:-1][::-1])
    np.testing.assert_array_equal(cuts["threshold"], at[::-1])
    fpr, tpr, _ = roc_curve(y[known], p[known], drop_intermediate=False)
    np.testing.assert_allclose(cuts["fpr"], fpr[1:])
    np.testing.assert_allclose(cuts["tp"] / (y == 1).sum(), tpr[1:])


@given(st.integers(0, 5000), st.floats(0, 1))
def test_confusion_counts_and_outcomes_agree_with_scikit_learn(seed, threshold):
    y, p, _ = drawn(seed)
    known = np.isfinite(y)
    (tn, fp), (fn, tp) = confusion_matrix(y[known], p[known] >= threshold, labels=[0, 1])
    assert confusion(y, p, threshold) == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    names, counts = np.unique(outcome(y, p, threshold).astype(str), return_counts=True)
    found = dict(zip(names, counts))
    assert [found.get(name, 0) for name in ("TP", "FP", "FN", "TN", "")] == [tp, fp, fn, tn, (~known).sum()]


def test_a_long_curve_is_thinned_without_losing_its_area():
    rng = np.random.default_rng(0)
    y = (rng.random(30_000) < 0.02).astype(float)
    p = rng.normal(size=30_000) + 2 * y
    cuts = thresholds(y, p)
    assert len(cuts) <= 600 and cuts.iloc[-1]["tp"] == y.sum() and cuts.iloc[0]["tp"] + cuts.iloc[0]["fp"] == 1
    area = np.trapezoid(cuts["precision"], cuts["recall"])
    assert area == pytest.approx(average_precision_score(y, p), abs=0.005)


def test_an_endpoint_without_labels_has_no_thresholds():
    assert thresholds(np.full(3, np.nan), np.zeros(3)).empty
    assert calibration(np.full(3, np.nan), np.zeros(3)).empty


def test_the_best_threshold_separates_what_can_be_separated():
    y, p = np.repeat([0.0, 1.0], 20), np.concatenate([np.linspace(0, 0.4, 20), np.linspace(0.6, 1, 20)])
    assert best_threshold(thresholds(y, p)) == pytest.approx(0.6)


def test_calibrated_probabilities_lie_on_the_diagonal_within_their_intervals():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    table = calibration((rng.random(20_000) < p).astype(float), p)
    assert table["n"].sum() == 20_000 and len(table) == 10
    np.testing.assert_allclose(table["observed"], table["predicted"], atol=0.04)
    assert ((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).mean() >= 0.8


def test_equal_predictions_are_one_bin():
    table = calibration(np.array([0.0, 1.0, 1.0, np.nan]), np.full(4, 0.5))
    assert table[["n", "predicted", "observed"]].to_numpy().tolist() == [[3, 0.5, pytest.approx(2 / 3)]]


def test_wilson_is_the_textbooks_and_knows_nothing_of_nothing():
    low, high = wilson(np.array([0, 5, 0]), np.array([10, 10, 0]))
    np.testing.assert_allclose(low[:2], [0, 0.2366], atol=1e-4)
    np.testing.assert_allclose(high[:2], [0.2775, 0.7634], atol=1e-4)
    assert (low[2], high[2]) == (0, pytest.approx(1))


def test_a_histogram_counts_every_labelled_molecule_once():
    y, p, _ = drawn(3)
    table = histogram(y, p)
    assert table["positives"].sum() == (y == 1).sum() and table["negatives"].sum() == (y == 0).sum()
