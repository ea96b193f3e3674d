"""Weights from a fold's counts: the formulas of seed section 4.3 with worked numbers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_bags, make_cv, make_tasks, tiny_config
from milbench.configs import HPOConfig, LossWeightingConfig
from milbench.data.statistics import FoldStats, Scaler, label_statistics
from milbench.data.targets import bitmasks
from milbench.data.weighting import pattern_groups, pattern_weights, positive_weights, task_weights

LOSS = HPOConfig.from_params({}).loss
NO_SCALERS = [Scaler(np.zeros(0, np.float32), np.ones(0, np.float32))] * 4


def loss(**changes: object) -> LossWeightingConfig:
    return dataclasses.replace(LOSS, **changes)  # type: ignore[arg-type]


def stats(positives=(0,) * 4, negatives=(0,) * 4, masks: dict[int, int] | None = None) -> FoldStats:
    masks = masks or {}
    arrays = (positives, negatives, sorted(masks), [masks[m] for m in sorted(masks)])
    return FoldStats(*NO_SCALERS, *(np.array(a, dtype=np.int64) for a in arrays))


def test_a_positive_weighs_as_many_negatives_as_there_are_up_to_the_clip() -> None:
    got = positive_weights(stats([10, 5, 0, 7], [90, 995, 40, 0]), loss(posw_clip=(12.0, 90.0, 10.0, 100.0)))
    assert got.tolist() == [9, 90, 10, 0]


def test_task_weights_are_normalised_clipped_and_normalised_again() -> None:
    # (1, 2, 0.5, 2.5) / 1.5 = (0.667, 1.333, 0.333, 1.667) -> [0.6, 1.5] -> (0.667, 1.333, 0.6, 1.5), mean 1.025
    got = task_weights(stats(), loss(lam=(1.0, 2.0, 0.5, 2.5), lam_floor=0.6, lam_ceil=1.5))
    np.testing.assert_allclose(got, np.array([2 / 3, 4 / 3, 0.6, 1.5]) / 1.025)


def test_without_lam_task_weights_are_a_power_of_the_prevalence() -> None:
    got = task_weights(stats([10, 1, 0], [90, 99, 50]), loss(lam=(), lambda_power=0.5))
    raw = np.array([10**0.5, 100**0.5, 50**0.5])
    np.testing.assert_allclose(got, raw / raw.mean())
    assert task_weights(stats([10, 1], [90, 99]), loss(lam=(), lambda_power=0.0)).tolist() == [1, 1]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=7), st.floats(0.35, 0.85), st.floats(1.3, 2.2))
def test_task_weights_always_have_mean_one(lam: list[float], floor: float, ceil: float) -> None:
    got = task_weights(stats(), loss(lam=tuple(lam), lam_floor=floor, lam_ceil=ceil))
    assert got.mean() == pytest.approx(1)
    assert (got > 0).all()


def test_a_rare_pattern_weighs_the_root_of_its_rarity_up_to_the_cap() -> None:
    s = stats(masks={0: 400, 1: 100, 2: 25, 5: 1})  # median 62.5
    got = pattern_weights(np.array([0, 1, 2, 5, -1, 9]), s, loss(bitmask_weight_alpha=0.5, bitmask_weight_cap=3.0))
    np.testing.assert_allclose(got, [1, 1, (62.5 / 25) ** 0.5, 3, 1, 3])
    assert pattern_weights(np.array([5, 2]), s, loss(use_bitmask_loss_weight=False)).tolist() == [1, 1]
    assert pattern_weights(np.array([5, 2]), s, loss(bitmask_weight_alpha=0.0)).tolist() == [1, 1]


def test_the_most_frequent_patterns_are_classes_and_the_smaller_id_wins_a_tie() -> None:
    s = stats(masks={0: 500, 1: 30, 2: 30, 4: 30, 8: 100, 3: 1})
    groups = pattern_groups(s, loss(bitmask_group_top_k=4, bitmask_group_weight_alpha=0.5, bitmask_group_weight_cap=5.0))
    assert groups.ids.tolist() == [0, 8, 1, 2]
    # counts 500, 100, 30, 30, other 31: median 31
    np.testing.assert_allclose(groups.weights, [1, 1, (31 / 30) ** 0.5, (31 / 30) ** 0.5, 1])
    assert groups.classes(np.array([0, 8, 1, 2, 4, 3, 15, -1])).tolist() == [0, 1, 2, 3, 4, 4, 4, -100]


def test_class_weights_are_capped_and_empty_classes_count_as_one() -> None:
    groups = pattern_groups(stats(masks={0: 900, 1: 400}), loss(bitmask_group_top_k=3))
    assert groups.ids.tolist() == [0, 1]
    assert len(groups.weights) == 4
    np.testing.assert_allclose(groups.weights, [1, (650 / 400) ** 0.5, 5, 5])
    assert groups.classes(np.array([0, 1, 2])).tolist() == [0, 1, 3]


def test_no_pattern_head_is_asked_for_with_zero_classes() -> None:
    groups = pattern_groups(stats(masks={0: 9}), loss(bitmask_group_top_k=0))
    assert len(groups.weights) == 0
    assert groups.classes(np.array([0, 5, -1])).tolist() == [-100, -100, -100]


@given(st.integers(0, 30), st.integers(1, 8), st.integers(1, 4))
def test_classes_are_the_ranks_of_a_plain_count(seed: int, top_k: int, n_tasks: int) -> None:
    y = (np.random.default_rng(seed).random((50, n_tasks)) < 0.4).astype(np.float32)
    masks = bitmasks(y)
    s = FoldStats(*NO_SCALERS, **label_statistics(y))
    counts = {int(m): int((masks == m).sum()) for m in masks}
    ranked = sorted(counts, key=lambda m: (-counts[m], m))[:top_k]
    groups = pattern_groups(s, loss(bitmask_group_top_k=top_k))
    other = len(groups.weights) - 1
    assert groups.classes(masks).tolist() == [ranked.index(m) if m in ranked else other for m in masks]


def test_only_training_molecules_carry_the_pattern_multiplier() -> None:
    data = make_cv()
    fold, config = data.fold(0), tiny_config()
    w, raw = fold.targets(config.loss).w.numpy(), data.bags.raw
    np.testing.assert_array_equal(w[fold.val], raw.w[fold.val])
    u = pattern_weights(bitmasks(raw.y)[fold.train], fold.stats, config.loss)
    assert (u > 1).any()
    np.testing.assert_allclose(w[fold.train], raw.w[fold.train] * u[:, None], rtol=1e-6)


def test_auxiliaries_are_standardised_by_the_training_molecules() -> None:
    data = make_cv()
    fold = data.fold(0)
    targets = fold.targets(LOSS)
    known = np.isfinite(data.bags.raw.abs[fold.train])
    scaled = targets.abs.numpy()[fold.train]
    for a in range(2):
        assert scaled[known[:, a], a].mean() == pytest.approx(0, abs=1e-4)
        assert scaled[known[:, a], a].std() == pytest.approx(1, abs=1e-3)
    assert (targets.abs[~targets.has_abs] == 0).all()
    assert (targets.has_abs.numpy() == np.isfinite(data.bags.raw.abs)).all()


@pytest.mark.parametrize("n_tasks", [1, 3, 7])
def test_any_number_of_tasks_has_weights(n_tasks: int) -> None:
    bags, tasks = make_bags(n_tasks=n_tasks, n_abs=0, n_fluo=0), make_tasks(n_tasks)
    fold, config = make_cv(bags, tasks=tasks).fold(0), tiny_config(tasks)
    assert positive_weights(fold.stats, config.loss).shape == task_weights(fold.stats, config.loss).shape == (n_tasks,)
    assert len(fold.groups(config.loss).weights) == min(6, 2**n_tasks) + 1
