"""A batch that is filled up to a common size gives what the batch gives: the filling reaches no output and no gradient."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import make_bags, make_cv, make_model
from milbench.data.bags import BagBatch, BagData
from milbench.data.buckets import bucket
from milbench.data.cv import FoldData
from milbench.data.targets import Targets
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.registry import AGGREGATORS

POOL_OPTIONS: list[dict[str, Any]] = [
    *({"pool_from": source, "pool_v_mode": mode} for source in ("normed_inputs", "inputs") for mode in ("linear", "none")),
    {"pool_from": "attn_out"},
    {"use_temperature": True},
    *({"topk_n": 2, "topk_strategy": strategy} for strategy in ("renorm", "mean", "sum", "argmax")),
    {"prune_below": 0.2},
    {"residual_pooling": "gate"},
    {"residual_pooling": "sum", "pool_from": "attn_out"},
]
MODELS = [{"aggregator_name": name} for name in AGGREGATORS.names()] + POOL_OPTIONS
SIZES = np.array([3, 0, 1, 6, 2, 0] * 10)


def both(fold: FoldData, index: torch.Tensor, targets: Targets, more: int = 0) -> tuple[BagBatch, BagBatch]:
    """The batch as it is, and filled up."""
    total = int(fold.bags.bag_sizes[index.numpy()].sum())
    return fold.batch(index, targets), fold.scaled.batch(index, targets, bucket(total + more), fill=True)


@given(st.integers(1, 10**8))
def test_a_bucket_holds_its_rows_and_wastes_little(rows: int) -> None:
    assert rows <= bucket(rows) <= max(rows * 1.08, rows + 64)
    assert bucket(bucket(rows)) == bucket(rows)


def test_few_sizes_cover_the_batches_of_an_epoch() -> None:
    totals = np.random.default_rng(0).geometric(0.1, (1000, 256)).clip(1, 40).sum(1)
    assert len(set(totals)) > 300
    assert len({bucket(int(total)) for total in totals}) <= 8


def outputs(model: MILTaskAttnMixerWithAux, batch: BagBatch) -> list[torch.Tensor]:
    """Loss, every output and every gradient."""
    model.zero_grad()
    terms = model.loss(batch)
    terms.total.backward()
    out = model.forward_bags(batch)
    assert out.bitmask is not None
    rows = int(batch.offsets[len(batch)])
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [terms.total, out.logits, out.abs_out, out.fluo_out, out.bitmask, out.attn[:rows], *gradients]


def in_float64(batch: BagBatch) -> BagBatch:
    return dataclasses.replace(batch, x2d=batch.x2d.double(), xinst=batch.xinst.double())


@pytest.mark.parametrize("options", MODELS, ids=str)
@pytest.mark.parametrize("more", [0, 100])
def test_outputs_and_gradients_are_those_of_the_batch_itself(options: dict[str, Any], more: int) -> None:
    bags = make_bags(60, sizes=SIZES)
    fold = make_cv(bags).fold(0)
    model = make_model(bags, **options).double()
    plain, filled = both(fold, torch.tensor([1, 3, 59, 0, 10, 3, 5]), fold.targets(model.config.loss), more)  # type: ignore[arg-type]
    assert len(filled.xinst) > len(plain.xinst)
    for a, b in zip(outputs(model, in_float64(plain)), outputs(model, in_float64(filled)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_in_float32_they_agree_to_a_millionth(options: dict[str, Any]) -> None:
    fold = make_cv().fold(0)
    model = make_model(**options)
    plain, filled = both(fold, torch.arange(20), fold.targets(model.config.loss))  # type: ignore[arg-type]
    for a, b in zip(outputs(model, plain), outputs(model, filled), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * max(1.0, float(a.detach().abs().max())))


def test_what_fills_cannot_be_seen_whatever_it_is() -> None:
    fold = make_cv().fold(0)
    model = make_model()
    plain, filled = both(fold, torch.arange(20), fold.targets(model.config.loss))  # type: ignore[arg-type]
    filled.xinst[len(plain.xinst) :] = 7.0
    torch.testing.assert_close(outputs(model, plain), outputs(model, filled), rtol=1e-5, atol=1e-5)


def test_the_filling_is_a_row_of_the_batch_never_of_another_molecule() -> None:
    bags = make_bags(60, sizes=SIZES)
    fold = make_cv(bags, prescaled=True).fold(0)
    bags.xinst[:3] = torch.nan  # the first molecule's
    index = torch.tensor([1, 3, 7])
    filled = fold.scaled.batch(index, None, 64, fill=True)
    assert torch.isfinite(filled.xinst).all()
    rows = int(filled.offsets[3])
    assert (rows, filled.offsets.tolist()[-1], filled.segment[rows:].unique().tolist()) == (6, 64, [3])
    assert torch.equal(filled.xinst[rows:], filled.xinst[:1].expand(64 - rows, -1))


def test_a_batch_without_any_instance_is_filled_too() -> None:
    bags: BagData = make_bags(60, sizes=SIZES)
    fold = make_cv(bags).fold(0)
    filled = fold.scaled.batch(torch.tensor([1, 5]), None, 64, fill=True)
    assert filled.offsets.tolist() == [0, 0, 0, 64]
    model = make_model(bags)
    torch.testing.assert_close(model.forward_bags(filled).logits, model.forward_bags(fold.batch(torch.tensor([1, 5]))).logits)


def test_the_halves_of_a_filled_batch_hold_its_molecules_alone() -> None:
    fold = make_cv().fold(0)
    plain, filled = both(fold, torch.arange(9), fold.targets(make_model().config.loss))  # type: ignore[arg-type]
    for a, b in zip(plain.halves(), filled.halves(), strict=True):
        assert torch.equal(a.xinst, b.xinst)
        assert torch.equal(a.offsets, b.offsets)
