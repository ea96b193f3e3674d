"""What a fold fits: scalers, imputation, label counts."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milbench.data import statistics
from milbench.data.statistics import Scaler, fit_scaler, fit_target_scale, label_statistics
from milbench.data.targets import bitmasks

MATRIX = hnp.arrays(
    np.float32, st.tuples(st.integers(2, 30), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
)


@given(MATRIX, st.data())
def test_a_scaler_is_mean_and_deviation_of_the_given_rows(x: np.ndarray, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(x) - 1), min_size=2, unique=True)))
    scaler = fit_scaler(torch.from_numpy(x), rows)
    part = x[rows].astype(np.float64)
    np.testing.assert_allclose(scaler.mean, part.mean(0), rtol=1e-6, atol=1e-30)
    std = part.std(0)
    varies = std > 1e-7 * np.abs(part.mean(0))
    np.testing.assert_allclose(scaler.scale[varies], std[varies], rtol=1e-5)
    assert (scaler.scale[np.ptp(part, axis=0) == 0] == 1).all()


def test_scaled_training_rows_have_mean_0_and_deviation_1_and_constants_become_0() -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 1e4, 1e-4, 0]) + 300
    out = fit_scaler(x, np.arange(500)).apply(x.clone())
    torch.testing.assert_close(out[:, :2].mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(out[:, :2].std(0, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert not out[:, 3].any()


@pytest.mark.parametrize("value", [0.0, 0.1, 123456.789, -1e30])
def test_a_constant_column_has_unit_scale(value: float) -> None:
    x = np.full((1000, 1), value, dtype=np.float32)
    assert fit_scaler(torch.from_numpy(x), np.arange(1000)).scale.tolist() == [1]
    assert fit_target_scale(x).scale.tolist() == [1]


def test_the_order_of_chunks_is_not_the_number_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * 1e3
    whole = fit_scaler(x, np.arange(100))
    monkeypatch.setattr(statistics, "_CELLS", 21)
    pieces = fit_scaler(x, np.arange(100))
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(pieces.scale, whole.scale, rtol=1e-6)


def test_imputing_fills_with_the_median_and_leaves_the_gaps_out_of_every_statistic() -> None:
    x = torch.tensor([[1.0, float("nan")], [2.0, 5.0], [9.0, float("inf")], [float("nan"), 7.0]])
    scaler = fit_scaler(x, np.arange(4), impute=True)
    np.testing.assert_allclose(scaler.mean, [4, 6])
    np.testing.assert_allclose(scaler.scale, [np.std([1, 2, 9]), 1])
    assert scaler.fill.tolist() == [2, 6]
    out = scaler.apply(x.clone())
    assert out[3, 0].item() == pytest.approx((2 - 4) / np.std([1, 2, 9]))
    assert out[:, 1].tolist() == [0, -1, 0, 1]


def test_a_column_without_any_finite_value_is_imputed_as_zero() -> None:
    x = torch.full((3, 1), float("nan"))
    assert fit_scaler(x, np.arange(3), impute=True).apply(x).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_without_imputing_a_gap_shows_in_the_statistics(bad: float) -> None:
    scaler = fit_scaler(torch.tensor([[1.0, 1.0], [2.0, bad]]), np.arange(2))
    assert np.isfinite(scaler.mean[0])
    assert not (np.isfinite(scaler.mean[1]) and np.isfinite(scaler.scale[1]))


@given(
    hnp.arrays(np.float32, (9, 2), elements=st.floats(-1e4, 1e4, width=32) | st.just(np.nan)),
)
def test_target_scales_see_known_values_alone(values: np.ndarray) -> None:
    scaler = fit_target_scale(values)
    for a in range(2):
        known = values[np.isfinite(values[:, a]), a].astype(np.float64)
        if known.size:
            assert scaler.mean[a] == pytest.approx(known.mean(), rel=1e-5, abs=1e-5)
            if known.std() > 1e-3:
                assert scaler.scale[a] == pytest.approx(known.std(), rel=1e-4)
        else:
            assert (scaler.mean[a], scaler.scale[a]) == (0, 1)
    assert (scaler.scale > 0).all()


def test_label_statistics_count_known_labels_and_known_patterns() -> None:
    y = np.array([[1, 0], [1, 1], [0, np.nan], [1, 0], [0, 0]], dtype=np.float32)
    got = label_statistics(y)
    assert got["positives"].tolist() == [3, 1]
    assert got["negatives"].tolist() == [2, 3]
    assert got["mask_ids"].tolist() == [0, 1, 3]
    assert got["mask_counts"].tolist() == [1, 2, 1]


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 62)), elements=st.sampled_from([0.0, 1.0, np.nan])))
def test_a_bitmask_is_the_sum_of_powers_of_two(y: np.ndarray) -> None:
    for row, mask in zip(y, bitmasks(y).tolist(), strict=True):
        expected = -1 if np.isnan(row).any() else sum(2**t for t, value in enumerate(row) if value)
        assert mask == expected


def test_the_seeds_example_of_a_bitmask() -> None:
    assert bitmasks(np.array([[1, 0, 1, 0]])).tolist() == [5]


def test_statistics_are_equal_by_value_to_the_last_bit() -> None:
    one = Scaler(np.ones(3, np.float32), np.ones(3, np.float32))
    same = Scaler(np.ones(3, np.float32), np.ones(3, np.float32))
    assert one == same
    assert one != dataclasses.replace(one, mean=np.nextafter(one.mean, np.float32(2)))
    assert one != dataclasses.replace(one, mean=one.mean.astype(np.float64))
    assert one != dataclasses.replace(one, fill=np.zeros(3, np.float32))
    assert Scaler(np.full(1, np.nan, np.float32), np.ones(1)) == Scaler(np.full(1, np.nan, np.float32), np.ones(1))
