"""Heavy tails made short, and what is beyond them clipped and counted."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from builders import make_bags, make_cv
from milbench.data.bending import KNOTS, fit_quantiles, normal_scores
from milbench.data.statistics import Scaler, count_clipped, fit_scaler
from milbench.errors import ConfigError, DataError
from milbench.features import Scaling

RNG = np.random.default_rng(0)
HEAVY = torch.from_numpy(np.exp(3 * RNG.normal(size=(4000, 2))).astype(np.float32))
ROWS = np.arange(len(HEAVY))


def test_quantile_scaling_makes_any_continuous_column_normal() -> None:
    scaled = fit_scaler(HEAVY, ROWS, scaling=Scaling("quantile")).apply(HEAVY.clone())
    assert stats.kstest(scaled[:, 0].numpy(), "norm").statistic < 0.01
    assert scaled.std(0) == pytest.approx(np.ones(2), abs=0.02)


def test_a_signed_logarithm_keeps_order_and_sign() -> None:
    x = torch.tensor([[-1e30], [-5.0], [0.0], [0.1], [3.0], [1e30]])
    bent = Scaler(np.zeros(1, np.float32), np.ones(1, np.float32), log=np.ones(1, bool)).apply(x.clone())
    assert (bent.diff(dim=0) > 0).all()
    assert bent[2] == 0
    assert bent[1] == pytest.approx(-np.log(6))


@given(st.lists(st.integers(-3, 3), min_size=5, max_size=60))
def test_quantile_scaling_keeps_the_order_of_values_that_repeat(values: list[int]) -> None:
    x = torch.tensor(values, dtype=torch.float32)[:, None]
    scaled = fit_scaler(x, np.arange(len(x)), scaling=Scaling("quantile")).apply(x.clone())[:, 0]
    order = torch.argsort(x[:, 0], stable=True)
    assert (scaled[order].diff() >= 0).all()
    assert len(torch.unique(scaled)) == len(set(values))


def test_a_binary_column_is_only_standardised() -> None:
    x = torch.from_numpy((RNG.random((5000, 1)) < 0.02).astype(np.float32))
    rows = np.arange(len(x))
    plain, bent = (fit_scaler(x, rows, scaling=how).apply(x.clone()) for how in (Scaling(), Scaling("quantile")))
    assert bent.numpy() == pytest.approx(plain.numpy(), abs=1e-3)


def test_what_lies_beyond_the_training_quantiles_stays_at_their_ends() -> None:
    knots, scores = fit_quantiles(HEAVY, ROWS, impute=False)
    assert knots.shape == scores.shape == (2, KNOTS)
    far = torch.tensor([[-1e30, -np.inf], [1e30, np.inf]])
    ends = normal_scores(far, torch.from_numpy(knots), torch.from_numpy(scores))
    assert ends.tolist() == [scores[:, 0].tolist(), scores[:, -1].tolist()]


@pytest.mark.parametrize("kind", ["standard", "signed_log", "quantile"])
def test_clipped_values_are_limited_and_counted(kind) -> None:
    scaler = fit_scaler(HEAVY, ROWS, scaling=Scaling(kind, 2.5))
    free = dataclasses.replace(scaler, clip=None).apply(HEAVY.clone()).abs().numpy()
    assert scaler.apply(HEAVY.clone()).abs().max() <= 2.5
    assert count_clipped(scaler, HEAVY, ROWS) == (int((free > 2.5).sum()), int((free > 2.5).any(axis=0).sum()))
    assert scaler.scaling == Scaling(kind, 2.5)


@pytest.mark.parametrize("kind", ["standard", "signed_log", "quantile"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_whatever_the_scaling(kind, value: float) -> None:
    bags = make_bags()
    data = make_cv(bags, scaling=Scaling(kind))
    bags.x2d[int(np.flatnonzero(data.fold_of == 1)[0]), 3] = value
    with pytest.raises(DataError, match="d3"):
        data.fold(0)
    filled = make_cv(bags, scaling=Scaling(kind), impute="median").fold(0)
    assert torch.isfinite(filled.batch(torch.arange(len(bags))).x2d).all()


def test_the_count_of_clipped_values_is_said_once(caplog) -> None:
    bags = make_bags(60)
    bags.x2d[:, 2] = torch.exp(bags.x2d[:, 2])
    with caplog.at_level(logging.INFO):
        data = make_cv(bags, scaling=Scaling("standard", 2.0))
        data.fold(0)
        data.fold(0)
    said = [record.message for record in caplog.records if "clipped" in record.message]
    assert len(said) == 1
    counted = count_clipped(data.fold(0).stats.scale2d, bags.x2d, data.fold(0).train)
    assert f"{counted[0]} 2D values ({counted[1]} columns)" in said[0]


def test_a_scaling_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="--clip"):
        Scaling(clip=0.5)
    with pytest.raises(ConfigError, match="--scaling"):
        Scaling("log")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--prescaled"):
        make_cv(prescaled=True, scaling=Scaling("quantile"))
