"""Honest scores: NaN where there is nothing to score, never a silent 0."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from builders import make_tasks
from milbench.errors import StudyError
from milbench.metrics import Metrics, evaluate, fold_score, trial_value, warn_undefined
from milbench.tasks import EUOS25, Endpoint, TaskSet

NAN = float("nan")


def data(n: int = 40, n_tasks: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random((n, n_tasks)) < 0.3).astype(np.float32)
    y[0], y[1] = 1, 0
    return y, rng.random((n, n_tasks)), rng.uniform(0.1, 3, (n, n_tasks))


def metrics(ap: list[float], auc: list[float] | None = None) -> Metrics:
    auc = ap if auc is None else auc
    names = tuple(f"assay_{t}" for t in range(len(ap)))
    return Metrics(names, np.array(ap), np.array(auc), np.zeros(len(ap)), np.zeros(len(ap)))


def test_scores_are_scikit_learns_with_weights_only_where_declared() -> None:
    y, scores, w = data()
    got = evaluate(y, scores, w, EUOS25)
    for t, endpoint in enumerate(EUOS25.endpoints):
        weight = w[:, t] if endpoint.ap_weighted else None
        assert got.ap[t] == average_precision_score(y[:, t], scores[:, t], sample_weight=weight)
        assert got.auc[t] == roc_auc_score(y[:, t], scores[:, t])
    assert [e.ap_weighted for e in EUOS25.endpoints] == [True, True, False, False]
    np.testing.assert_allclose(got.prevalence, y.mean(0))


@settings(max_examples=8)
@given(st.integers(0, 50))
def test_missing_labels_are_left_out_as_if_the_rows_were_not_there(seed: int) -> None:
    y, scores, w = data(seed=seed)
    missing = np.random.default_rng(seed).random(y.shape) < 0.4
    missing[:2] = False
    holed = evaluate(np.where(missing, np.nan, y), scores, w, EUOS25)
    for t in range(4):
        rows = ~missing[:, t]
        alone = evaluate(y[rows], scores[rows], w[rows], EUOS25)
        assert (holed.ap[t], holed.auc[t], holed.n_known[t]) == (alone.ap[t], alone.auc[t], rows.sum())


def test_the_score_of_a_missing_label_cannot_matter() -> None:
    y, scores, w = data()
    y[5:9, 2] = np.nan
    before = evaluate(y, scores, w, EUOS25)
    scores[5:9, 2] = 1e9
    after = evaluate(y, scores, w, EUOS25)
    assert before.to_dict() == after.to_dict()


def test_a_task_without_positives_is_nan_and_left_out_of_macro_and_min(caplog: pytest.LogCaptureFixture) -> None:
    y, scores, w = data()
    y[:, 1] = 0
    got = evaluate(y, scores, w, EUOS25)
    assert np.isnan(got.ap[1])
    assert np.isnan(got.auc[1])
    assert got.macro_ap == pytest.approx(got.ap[[0, 2, 3]].mean())
    assert got.min_ap == got.ap[[0, 2, 3]].min()
    assert got.macro_auc == pytest.approx(got.auc[[0, 2, 3]].mean())
    assert got.undefined == ("Transmittance_450",)
    with caplog.at_level(logging.WARNING):
        warn_undefined(got, "fold 2")
    assert [r.getMessage() for r in caplog.records] == [
        "fold 2: no positive of Transmittance_450, left out of macro and min AP"
    ]


def test_a_task_with_positives_alone_has_no_auc_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    y, scores, w = data()
    y[:, 0] = 1
    got = evaluate(y, scores, w, EUOS25)
    assert got.ap[0] == 1
    assert np.isnan(got.auc[0])
    assert got.macro_auc == pytest.approx(got.auc[1:].mean())
    with caplog.at_level(logging.WARNING):
        warn_undefined(got, "fold 2")
    assert "no negative of Transmittance_340" in caplog.text


def test_no_warning_when_every_task_has_both_classes(caplog: pytest.LogCaptureFixture) -> None:
    warn_undefined(evaluate(*data(), EUOS25), "fold 0")
    assert not caplog.records


def test_without_any_label_everything_is_nan() -> None:
    y, scores, w = data()
    got = evaluate(np.full_like(y, np.nan), scores, w, EUOS25)
    assert np.isnan([got.macro_ap, got.min_ap, got.macro_auc, *got.ap, *got.auc, *got.prevalence]).all()
    assert (got.n_known == 0).all()
    assert np.isnan(fold_score(got, 0.3))


def test_positives_whose_weights_are_all_zero_have_no_weighted_ap() -> None:
    y, scores, w = data()
    w[y[:, 0] == 1, 0] = 0
    assert np.isnan(evaluate(y, scores, w, EUOS25).ap[0])


@pytest.mark.parametrize("n_tasks", [1, 3, 7])
def test_any_number_of_tasks_is_scored(n_tasks: int) -> None:
    got = evaluate(*data(n_tasks=n_tasks), make_tasks(n_tasks))
    assert np.isfinite(got.ap).all()
    assert list(got.to_dict()["tasks"]) == [f"assay_{t}" for t in range(n_tasks)]


def test_the_fold_score_blends_macro_and_worst_ap() -> None:
    got = metrics([0.9, 0.5, 0.1, 0.7])
    assert got.macro_ap == pytest.approx(0.55)
    assert got.min_ap == 0.1
    assert fold_score(got, 0.3) == pytest.approx(0.7 * 0.55 + 0.3 * 0.1)
    assert fold_score(metrics([0.9, NAN, 0.1]), 0.6) == pytest.approx(0.4 * 0.5 + 0.6 * 0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.floats(0.1, 0.6), st.floats(0.1, 0.6))
def test_a_smaller_min_w_never_lowers_the_score(ap: list[float], one: float, other: float) -> None:
    """Why min_w is a setting of the study and not searched: macro >= min always."""
    low, high = sorted((one, other))
    assert fold_score(metrics(ap), low) >= fold_score(metrics(ap), high) - 1e-12


def test_the_value_of_a_trial_is_the_mean_of_its_fold_scores() -> None:
    assert trial_value([0.2, 0.4, 0.9]) == pytest.approx(0.5)
    assert trial_value(iter([0.25])) == 0.25


def test_a_score_that_is_not_finite_is_named_and_never_ranked() -> None:
    y, w = np.array([[1.0], [0.0]]), np.ones((2, 1))
    one = TaskSet("one", (Endpoint("absorbs"),))
    with pytest.raises(StudyError, match="predictions, row 2, column absorbs: got nan"):
        evaluate(y, np.array([[0.5], [np.nan]]), w, one)
