"""Every fold has its share of every label pattern, and the deal is reproducible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milbench.data.folds import stratified_folds
from milbench.errors import DataError

LABELS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(6, 60), st.integers(1, 5)),
    elements=st.sampled_from([0.0, 0.0, 0.0, 1.0, np.nan]),
)


@given(LABELS, st.integers(2, 6), st.integers(0, 3))
def test_within_a_label_pattern_fold_sizes_differ_by_at_most_one(y: np.ndarray, n_folds: int, seed: int) -> None:
    fold = stratified_folds(y, n_folds, seed)
    assert fold.dtype == np.int64
    assert ((fold >= 0) & (fold < n_folds)).all()
    for pattern in np.unique(np.nan_to_num(y, nan=2.0), axis=0):
        members = (np.nan_to_num(y, nan=2.0) == pattern).all(axis=1)
        counts = np.bincount(fold[members], minlength=n_folds)
        assert counts.max() - counts.min() <= 1


@given(LABELS, st.integers(2, 6))
def test_the_same_seed_deals_the_same_and_does_not_touch_the_labels(y: np.ndarray, n_folds: int) -> None:
    before = y.copy()
    assert (stratified_folds(y, n_folds, 1) == stratified_folds(y, n_folds, 1)).all()
    np.testing.assert_array_equal(y, before)


def test_another_seed_deals_otherwise() -> None:
    y = (np.random.default_rng(0).random((200, 4)) < 0.2).astype(np.float32)
    assert (stratified_folds(y, 5, 0) != stratified_folds(y, 5, 1)).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_endpoint_has_its_share_in_every_fold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random((3000, 4)) < [0.056, 0.0147, 0.167, 0.0]).astype(np.float32)
    y[rng.choice(3000, 8, replace=False), 3] = 1
    fold = stratified_folds(y, 5, seed)
    rare = [int(y[fold == k, 3].sum()) for k in range(5)]
    assert max(rare) - min(rare) <= 1
    for t in range(4):
        share = np.array([y[fold == k, t].sum() for k in range(5)])
        assert share.max() - share.min() <= 4
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 4


@pytest.mark.parametrize("n_folds", [-1, 0, 1, 11])
def test_an_impossible_number_of_folds_is_refused(n_folds: int) -> None:
    with pytest.raises(DataError, match=rf"folds: got {n_folds}, want 2 to 10 \(the molecules there are\)"):
        stratified_folds(np.zeros((10, 2)), n_folds)
