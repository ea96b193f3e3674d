"""Balanced batches: the seed's steps 1-7, reproducible and resumable."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from milbench.configs import HPOConfig, SamplerConfig
from milbench.data.composition import BatchComposition, sample_weights, task_rarity
from milbench.data.sampler import MultitaskBalancedBatchSampler
from milbench.errors import ConfigError

DEFAULT = HPOConfig.from_params({}).sampler
PROFILE = (0.056, 0.0147, 0.1669, 0.0024)


def config(**changes: object) -> SamplerConfig:
    return dataclasses.replace(DEFAULT, **changes)  # type: ignore[arg-type]


def labels(n: int = 1000, prevalence: tuple[float, ...] = PROFILE, seed: int = 0) -> np.ndarray:
    """Independent labels with at least one positive of each task."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, len(prevalence))) < prevalence).astype(np.float32)
    y[: len(prevalence)] = np.eye(len(prevalence), dtype=np.float32)[: min(n, len(prevalence))]
    return y


def draws(sampler: MultitaskBalancedBatchSampler, epoch: int = 0) -> list[list[int]]:
    sampler.set_epoch(epoch)
    return [batch.tolist() for batch in sampler]


def test_the_seeds_worked_example_of_rarity_and_weights() -> None:
    rarity = task_rarity(np.array(PROFILE), config(rare_target_prev=0.10))
    np.testing.assert_allclose(rarity, [0.44, 0.85, 0, 0.98], atol=0.005)
    np.testing.assert_allclose(1 + 6 * rarity, [3.64, 6.12, 1, 6.86], atol=0.005)  # the seed rounds r first: 6.10


def test_a_sample_weighs_as_its_rarest_positive_task_up_to_the_cap() -> None:
    n = 10_000
    y = np.zeros((n, 4), dtype=np.float32)
    for t, prevalence in enumerate(PROFILE):
        y[: round(n * prevalence), t] = 1
    y = y[np.random.default_rng(0).permutation(n)]
    got = sample_weights(y, config(rare_target_prev=0.10, rare_oversample_mult=6.0, sample_weight_cap=6.5))
    rarity = np.array([0.44, 0.853, 0, 0.976])
    for row, weight in zip(y[::7], got[::7], strict=True):
        rarest = max((r for r, positive in zip(rarity, row, strict=True) if positive), default=0)
        assert weight == pytest.approx(min(1 + 6 * rarest, 6.5))
    assert got.max() == 6.5
    assert got.min() == 1


def test_the_legacy_threshold_makes_a_task_rare_or_not() -> None:
    legacy = config(rare_prev_thr=0.02)
    assert task_rarity(np.array(PROFILE), legacy).tolist() == [0, 1, 0, 1]
    assert task_rarity(np.array([0.02]), legacy).tolist() == [0]
    y = labels()
    weights = sample_weights(y, config(rare_prev_thr=0.02, rare_oversample_mult=3.0))
    expected = np.where((y[:, 1] == 1) | (y[:, 3] == 1), 4, 1)
    np.testing.assert_array_equal(weights, expected)


def test_missing_labels_are_neither_positives_nor_counted_in_a_prevalence() -> None:
    y = labels(200, (0.05, 0.05))
    weights = sample_weights(y, DEFAULT)
    holed = np.concatenate([y, np.full((800, 2), np.nan, dtype=np.float32)])
    np.testing.assert_array_equal(sample_weights(holed, DEFAULT)[:200], weights)
    assert (sample_weights(holed, DEFAULT)[200:] == 1).all()
    sampler = MultitaskBalancedBatchSampler(holed, DEFAULT, 64)
    for batch in draws(sampler):
        assert (holed[batch] == 1).any(axis=1).sum() == sampler.n_pos


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 64), st.floats(0, 1), st.integers(0, 80))
def test_the_number_of_positives_in_a_batch_is_the_seeds_formula(
    positives: int, negatives: int, batch_size: int, fraction: float, fewest: int
) -> None:
    if positives + negatives == 0:
        return
    y = np.zeros((positives + negatives, 2), dtype=np.float32)
    y[:positives, 0] = 1
    sampler = MultitaskBalancedBatchSampler(y, config(batch_pos_fraction=fraction, min_pos_per_batch=fewest), batch_size)
    low, high = (1 if positives else 0), (batch_size - 1 if negatives else batch_size)
    n_pos = min(max(max(fewest, round(batch_size * fraction)), low), high)
    for batch in draws(sampler):
        assert len(batch) == batch_size
        drawn = int((y[batch, 0] == 1).sum())
        if positives and negatives:
            assert drawn == n_pos
        else:
            assert drawn == (batch_size if positives else 0)


@given(st.integers(1, 400), st.integers(1, 96))
def test_an_epoch_has_as_many_batches_as_the_molecules_fill(n: int, batch_size: int) -> None:
    for balanced in (True, False):
        sampler = MultitaskBalancedBatchSampler(labels(n), config(use_balanced_batch_sampler=balanced), batch_size)
        assert len(sampler) == len(draws(sampler)) == -(-n // batch_size)


def test_every_batch_holds_its_quota_of_rare_endpoints_and_multi_positives() -> None:
    y = labels(4000)
    y[:40, [0, 2]] = 1  # multi-positives without any rare endpoint
    sampler = MultitaskBalancedBatchSampler(y, DEFAULT, 256)
    for batch in draws(sampler):
        assert (y[batch, 3] == 1).sum() >= 1
        assert (y[batch, 1] == 1).sum() >= 4
        assert (y[batch].sum(axis=1) >= 2).sum() >= 8
    assert sampler.n_pos == 90


def test_quotas_are_served_rarest_first_while_places_last() -> None:
    y = labels(2000, (0.2, 0.02, 0.005))
    crowded = config(quota_per_256=(200.0, 2.0, 3.0), quota_multi_per_256=99.0, batch_pos_fraction=0.1)
    sampler = MultitaskBalancedBatchSampler(y, crowded, 256)
    assert sampler.n_pos == 26
    for batch in draws(sampler):
        positive = y[batch] == 1
        assert positive[:, 2].sum() >= 3
        assert positive[:, 1].sum() >= 2
        assert positive[:, 0].sum() >= 21
        assert positive.any(axis=1).sum() == 26


def test_without_quotas_nothing_is_reserved() -> None:
    y = labels(4000, (0.3, 0.0003))
    off = config(enforce_bitmask_quota=False, quota_per_256=(0.0, 8.0), rare_oversample_mult=0.0)
    on = dataclasses.replace(off, enforce_bitmask_quota=True)
    share = [np.mean([(y[batch, 1] == 1).sum() for batch in draws(MultitaskBalancedBatchSampler(y, c, 64))]) for c in (off, on)]
    assert share[0] < 0.5
    assert share[1] >= 2


def test_positives_are_drawn_in_proportion_to_their_weights_and_negatives_evenly() -> None:
    y = np.zeros((400, 2), dtype=np.float32)
    y[:20, 0], y[20:24, 1] = 1, 1
    plain = config(enforce_bitmask_quota=False, rare_target_prev=0.06, rare_oversample_mult=6.0)
    sampler = MultitaskBalancedBatchSampler(y, plain, 100)
    counts = np.bincount(np.concatenate([np.ravel(draws(sampler, epoch)) for epoch in range(300)]), minlength=400)
    shares = sampler.weights[:24] / sampler.weights[:24].sum()
    np.testing.assert_allclose(counts[:24] / counts[:24].sum(), shares, rtol=0.15)
    np.testing.assert_allclose(counts[24:] / counts[24:].sum(), 1 / 376, rtol=0.35)


def test_the_batch_is_shuffled() -> None:
    y = labels(1000, (0.3,))
    places = [np.flatnonzero(y[batch, 0] == 1).mean() for batch in draws(MultitaskBalancedBatchSampler(y, DEFAULT_ONE, 100))]
    assert np.mean(places) == pytest.approx(49.5, abs=5)


DEFAULT_ONE = config(quota_per_256=(0.0,))


@pytest.mark.parametrize("balanced", [True, False])
def test_an_epoch_is_a_pure_function_of_seed_fold_and_epoch(balanced: bool) -> None:
    y, c = labels(500), config(use_balanced_batch_sampler=balanced)

    def make(seed: int = 0, fold: int = 0) -> MultitaskBalancedBatchSampler:
        return MultitaskBalancedBatchSampler(y, c, 64, seed=seed, fold=fold)

    first = draws(make(), 3)
    used = make()
    draws(used, 0)
    used.preview(2)
    np.random.default_rng(0).random(7)
    torch.rand(3)
    assert draws(used, 3) == first
    assert draws(used, 4) != first
    assert draws(make(seed=1), 3) != first
    assert draws(make(fold=1), 3) != first


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("batch", [0, 1, 5, 8])
def test_a_run_resumed_within_an_epoch_gets_the_rest_of_it(balanced: bool, batch: int) -> None:
    y, c = labels(500), config(use_balanced_batch_sampler=balanced)
    whole = draws(MultitaskBalancedBatchSampler(y, c, 64), 2)
    assert len(whole) == 8
    resumed = MultitaskBalancedBatchSampler(y, c, 64)
    resumed.start = batch
    assert draws(resumed, 2) == whole[batch:]
    assert draws(resumed, 2) == whole  # the next pass is whole again


def test_indices_are_places_in_the_data_set() -> None:
    y, rows = labels(100), np.arange(100) * 3 + 7
    sampler, plain = MultitaskBalancedBatchSampler(y, DEFAULT, 32, rows=rows), MultitaskBalancedBatchSampler(y, DEFAULT, 32)
    batches = list(sampler)
    assert all(batch.dtype == torch.int64 and batch.shape == (32,) for batch in batches)
    assert [rows[batch].tolist() for batch in plain] == [batch.tolist() for batch in batches]


@pytest.mark.parametrize("world", [2, 4, 8])
def test_processes_share_one_global_batch_of_the_composition_that_a_single_process_draws(world: int) -> None:
    y = labels(4000)
    whole = MultitaskBalancedBatchSampler(y, DEFAULT, 256)
    ranks = [MultitaskBalancedBatchSampler(y, DEFAULT, 256, share=(rank, world)) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(whole)}
    epochs = [np.array(draws(rank)) for rank in ranks]
    assert {drawn.shape for drawn in epochs} == {(16, 256 // world)}
    positives = np.array([(y[drawn] == 1).any(axis=2).sum(axis=1) for drawn in epochs])
    assert set(positives.sum(axis=0)) == {whole.n_pos}
    assert np.ptp(positives, axis=0).max() <= 1
    for one in range(world):
        for other in range(one):
            assert (epochs[one] != epochs[other]).mean() > 0.9


def test_ranks_of_the_plain_shuffle_share_an_epoch_without_overlap() -> None:
    y, c = labels(512), config(use_balanced_batch_sampler=False)
    drawn = [draws(MultitaskBalancedBatchSampler(y, c, 64, share=(rank, 2))) for rank in range(2)]
    assert sorted(np.ravel(drawn).tolist()) == list(range(512))


def test_a_batch_that_the_processes_cannot_share_evenly_is_refused() -> None:
    for batch_size in (3, 1):
        with pytest.raises(ConfigError, match=f"batch_size: got {batch_size}, want a multiple of the 2 processes"):
            MultitaskBalancedBatchSampler(labels(), DEFAULT, batch_size, share=(0, 2))


def test_plain_shuffling_shows_every_molecule_once_and_fills_the_last_batch() -> None:
    y, c = labels(100), config(use_balanced_batch_sampler=False)
    drawn = np.ravel(draws(MultitaskBalancedBatchSampler(y, c, 32)))
    assert sorted(drawn[:100].tolist()) == list(range(100))
    assert drawn[100:].tolist() == drawn[:28].tolist()


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_labels_of_one_kind_still_make_batches(value: float) -> None:
    y = np.full((50, 4), value, dtype=np.float32)
    sampler = MultitaskBalancedBatchSampler(y, DEFAULT, 16)
    batches = draws(sampler)
    assert {len(batch) for batch in batches} == {16}
    assert len({i for batch in batches for i in batch}) > 20
    assert len(sampler.preview()) == 4


def test_the_preview_counts_what_is_drawn() -> None:
    y = labels(800, (0.1, 0.02, 0.3))
    sampler = MultitaskBalancedBatchSampler(y, config(quota_per_256=(0.0, 4.0, 0.0)), 64, seed=5)
    table = sampler.preview(epochs=3)
    assert table[["epoch", "batch"]].to_numpy().tolist() == [[e, b] for e in range(3) for b in range(13)]
    for epoch in range(3):
        batches = draws(sampler, epoch)
        rows = table[table["epoch"] == epoch]
        positive = [y[batch] == 1 for batch in batches]
        for t in range(3):
            assert rows[f"t{t}"].tolist() == [p[:, t].sum() for p in positive]
        assert rows["multi_positives"].tolist() == [(p.sum(axis=1) >= 2).sum() for p in positive]
        distinct = [len({i for i in batch if (y[i] == 1).any()}) for batch in batches]
        assert rows["distinct_positives"].tolist() == distinct
        rare = [i for batch in batches for i in batch if y[i, 1] == 1]
        np.testing.assert_allclose(rows["rare_repeats"], len(rare) / len(set(rare)))


def test_the_summary_of_a_composition_counts_an_epoch_and_sets_it_beside_plain_shuffling() -> None:
    y = labels(800, (0.1, 0.02, 0.3))
    composed = BatchComposition(y, config(quota_per_256=(0.0, 4.0, 0.0)), 64, seed=5)
    table = composed.summary(["a", "b", "c"])
    drawn = composed.draw(0)
    for t, row in enumerate(table.to_dict("records")):
        counts = (y[drawn, t] == 1).sum(axis=1)
        picked = drawn[y[drawn, t] == 1]
        assert (row["mean"], row["least"], row["most"]) == (counts.mean(), counts.min(), counts.max())
        assert row["shuffled"] == pytest.approx((y[:, t] == 1).mean() * 64)
        assert row["repeats"] == pytest.approx(len(picked) / len(set(picked.tolist())))
        assert row["share"] == len(set(picked.tolist())) / row["positives"]
    assert table.loc[1, "mean"] > 2 * table.loc[1, "shuffled"]
    assert BatchComposition(np.zeros((50, 1)), DEFAULT, 16).summary(["none"])[
        ["mean", "repeats", "share"]
    ].to_numpy().tolist() == [[0, 0, 0]]


def test_a_configuration_without_quotas_reserves_places_for_multi_positives_alone() -> None:
    sampler = MultitaskBalancedBatchSampler(labels(), SamplerConfig(), 256)
    assert len(draws(sampler)) == 4
