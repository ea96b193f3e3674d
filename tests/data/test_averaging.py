"""Several models' predictions put together: what a stack learns, and that no label of a fold reaches its own predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

from milbench.data.averaging import averaged, cross_fitted, fit_stack
from milbench.errors import DataError

FOLD = np.arange(3000) % 5


def two_models(seed: int = 0, n: int = 3000) -> tuple[list[np.ndarray], np.ndarray]:
    """Probabilities [n, 2] of two models and labels [n, 2]: of both endpoints only the first model's first column tells."""
    rng = np.random.default_rng(seed)
    known = rng.normal(-1, 1.5, n)
    y = (rng.random((n, 2)) < expit(known)[:, None]).astype(float)
    first, second = rng.normal(-1, 1.0, (n, 2)), rng.normal(-1, 2.0, (n, 2))
    first[:, 0] = known
    return [expit(first), expit(second)], y


@given(st.lists(arrays(float, (3, 2), elements=st.floats(0, 1)), min_size=1, max_size=4), st.sampled_from(["mean", "logit"]))
def test_an_average_lies_between_what_is_averaged_whatever_their_order(parts: list[np.ndarray], how: str) -> None:
    found = averaged(parts, how)
    assert np.array_equal(found.shape, (3, 2))
    assert (found >= np.min(parts, axis=0) - 2e-7).all()
    assert (found <= np.max(parts, axis=0) + 2e-7).all()
    assert np.allclose(averaged(parts[::-1], how), found)


def test_a_stack_finds_who_knows_an_endpoint_and_by_which_other_one() -> None:
    parts, y = two_models(n=30_000)
    stack = fit_stack(parts, y)
    assert stack.weights[0] == pytest.approx([1, 1], abs=0.05)  # the first model's first endpoint tells of both
    assert np.abs(stack.weights[1:]).max() < 0.06
    assert stack.bias == pytest.approx([0, 0], abs=0.1)


def test_a_stack_ranks_better_than_the_mean_logit_where_models_are_not_alike() -> None:
    parts, y = two_models()
    stacked, mean = cross_fitted(parts, y, FOLD)[0], averaged(parts, "logit")
    for t in range(2):
        assert average_precision_score(y[:, t], stacked[:, t]) > average_precision_score(y[:, t], mean[:, t]) + 0.05


def test_no_label_of_a_fold_reaches_its_own_predictions() -> None:
    parts, y = two_models()
    other = y.copy()
    other[FOLD == 2] = 1 - other[FOLD == 2]
    before, after = cross_fitted(parts, y, FOLD)[0], cross_fitted(parts, other, FOLD)[0]
    assert np.array_equal(before[FOLD == 2], after[FOLD == 2])
    assert (before[FOLD != 2] != after[FOLD != 2]).any(axis=1).all()


def test_no_prediction_of_a_fold_reaches_the_stack_that_it_is_scored_with() -> None:
    parts, y = two_models()
    one, rest = np.flatnonzero(FOLD == 2)[0], np.flatnonzero(FOLD == 2)[1:]
    other = [part.copy() for part in parts]
    for part in other:
        part[rest] = 0.5
    before, after = cross_fitted(parts, y, FOLD)[0], cross_fitted(other, y, FOLD)[0]
    assert np.array_equal(before[one], after[one])
    assert (before[rest] != after[rest]).any()


def test_the_order_of_models_does_not_matter() -> None:
    parts, y = two_models()
    assert np.allclose(fit_stack(parts, y)(parts), fit_stack(parts[::-1], y)(parts[::-1]), atol=1e-4)


def test_unknown_labels_are_left_out() -> None:
    parts, y = two_models()
    holes = y.copy()
    holes[::3, 0] = np.nan
    kept = np.isfinite(holes[:, 0])
    found = fit_stack(parts, holes)
    assert np.allclose(found.weights[:, 1], fit_stack(parts, y).weights[:, 1])
    alone = fit_stack([part[kept] for part in parts], y[kept])
    assert np.allclose(found.weights[:, 0], alone.weights[:, 0], atol=1e-3)


@pytest.mark.parametrize("positives", [0, 1, 39, 40, 2960, 2961, 3000])
def test_an_endpoint_of_too_few_positives_or_negatives_keeps_its_mean_logit(positives: int) -> None:
    parts, y = two_models()
    y[:, 1] = np.arange(3000) < positives
    stack, mean = fit_stack(parts, y), averaged(parts, "logit")
    few = not 40 <= positives <= 2960  # ten for each of the 2 models' 2 logits
    assert stack.plain == (1,) * few
    assert np.allclose(stack(parts)[:, 1], mean[:, 1]) == few
    assert not np.allclose(stack(parts)[:, 0], mean[:, 0])


def test_a_stack_is_calibrated() -> None:
    parts, y = two_models(n=30_000)
    sharp = [expit(3 * logit(part)) for part in parts]  # far too sure
    assert fit_stack(sharp, y)(sharp).mean(axis=0) == pytest.approx(y.mean(axis=0), abs=0.005)


def test_a_missing_prediction_is_an_error() -> None:
    parts, y = two_models()
    parts[1][5, 0] = np.nan
    with pytest.raises(DataError, match="a prediction of every endpoint by every model"):
        fit_stack(parts, y)
