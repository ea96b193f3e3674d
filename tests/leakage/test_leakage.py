"""Nothing of a validation or leaderboard molecule reaches what a fold is trained with: not one bit.

Whatever is done to those molecules (noise, NaN, ±1e30, other labels, other bags), the fold's statistics, sampler, loss weights,
label-pattern classes, initial model and training batches stay bitwise the same.
"""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import make_bags, make_cv, tiny_config
from milbench.data.bags import BagData
from milbench.data.cv import MILCVData
from milbench.data.targets import bitmasks
from milbench.data.weighting import pattern_weights, positive_weights, task_weights
from milbench.features import Kind, Scaling
from milbench.models import MILModelBuilder

CONFIG = tiny_config()
BAGS = make_bags(48, missing=0.1)
BAGS.raw.y[3:, 3] = np.where(np.arange(45) % 20 == 0, 1, 0)  # an endpoint that counts as rare
FOLD_OF = np.where(np.arange(48) >= 40, -1, make_cv(BAGS).fold_of)
VICTIMS = {"validation": np.flatnonzero(FOLD_OF == 0), "leaderboard": np.flatnonzero(FOLD_OF == -1)}
KINDS = ("noise", "nan", "huge", "minus huge", "zero")
FIELDS = ("x2d", "xinst", "y", "w", "abs", "w_abs", "fluo", "w_fluo")


def junk(kind: str, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if kind == "noise":
        return (values + rng.normal(0, 100, values.shape)).astype(np.float32)
    return np.full(values.shape, {"nan": np.nan, "huge": 1e30, "minus huge": -1e30, "zero": 0}[kind], np.float32)


def other_labels(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    out = rng.choice(np.array([0, 1, np.nan], np.float32), y.shape)
    out[0, 0] = 1  # a fold needs one positive
    return out


def perturbed(victims: np.ndarray, changes: dict[str, str], resize: bool, seed: int) -> BagData:
    """`BAGS` with `changes` (field -> kind of junk) at the molecules `victims`, and other bags if `resize`."""
    rng = np.random.default_rng(seed)
    x2d, xinst, offsets = BAGS.x2d.numpy().copy(), BAGS.xinst.numpy(), BAGS.offsets.numpy()
    raw = BAGS.raw.take(np.arange(len(BAGS)))
    own = [xinst[start:end].copy() for start, end in pairwise(offsets)]
    for field, kind in changes.items():
        if field == "x2d":
            x2d[victims] = junk(kind, x2d[victims], rng)
        elif field == "xinst":
            for m in victims:
                own[m] = junk(kind, own[m], rng)
        elif field == "y":
            raw.y[victims] = other_labels(raw.y[victims], rng)
        else:
            getattr(raw, field)[victims] = junk(kind, getattr(raw, field)[victims], rng)
    if resize:
        for m in victims:
            own[m] = np.repeat(own[m], rng.integers(0, 3), axis=0)
    sizes = np.array([len(rows) for rows in own])
    return dataclasses.replace(
        BAGS,
        x2d=torch.from_numpy(x2d),
        xinst=torch.from_numpy(np.concatenate(own)),
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)])),
        conf_ids=np.concatenate([np.arange(size).astype(str).astype(object) for size in sizes]),
        raw=raw,
    )


def bits(value: Any) -> Any:
    """Every number as bytes, so that == means bitwise and NaN equals NaN."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if dataclasses.is_dataclass(value):
        return {f.name: bits(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def trained_with(
    bags: BagData, impute: str, prescaled: bool = False, kind: Kind = "standard", clip: float = 0.0
) -> dict[str, Any]:
    """Everything that fold 0 hands to training."""
    fold = MILCVData(bags, FOLD_OF, impute=impute, prescaled=prescaled, scaling=Scaling(kind, clip)).fold(0)
    targets, sampler = fold.targets(CONFIG.loss), fold.sampler(CONFIG)
    model = MILModelBuilder(0).build(CONFIG, fold)
    return {
        "stats": fold.stats,
        "train": fold.train.tolist(),
        "sampler weights": bits(sampler.weights),
        "sampler preview": sampler.preview(2).to_numpy().tolist(),
        "pos_weight": bits(positive_weights(fold.stats, CONFIG.loss)),
        "lam": bits(task_weights(fold.stats, CONFIG.loss)),
        "pattern groups": bits(fold.groups(CONFIG.loss)),
        "pattern weights": bits(pattern_weights(bitmasks(bags.raw.y)[fold.train], fold.stats, CONFIG.loss)),
        "batches": [bits(fold.batch(index, targets)) for index in sampler],
        "model": {name: bits(value) for name, value in model.state_dict().items()},
    }


OPTIONS = (
    *(("none", False), ("median", False), ("none", True)),
    *(("none", False, "quantile", 2.0), ("median", False, "quantile"), ("none", False, "signed_log", 2.0)),
)
CLEAN = {options: trained_with(BAGS, *options) for options in OPTIONS}


def test_the_data_of_these_tests_have_something_to_leak() -> None:
    fold = MILCVData(BAGS, FOLD_OF).fold(0)
    assert len(np.unique(fold.sampler(CONFIG).weights)) > 1
    assert len(np.unique(pattern_weights(bitmasks(BAGS.raw.y)[fold.train], fold.stats, CONFIG.loss))) > 1
    assert fold.stats.mask_counts.size > CONFIG.loss.bitmask_group_top_k


@pytest.mark.parametrize("who", VICTIMS)
@settings(max_examples=60)
@given(
    changes=st.dictionaries(
        st.sampled_from(FIELDS), st.sampled_from(["noise", "nan", "huge", "minus huge", "zero"]), min_size=1
    ),
    resize=st.booleans(),
    options=st.sampled_from(OPTIONS),
    seed=st.integers(0, 1000),
)
def test_molecules_outside_the_training_fold_cannot_change_one_bit_of_training(
    who: str, changes: dict[str, str], resize: bool, options: tuple[Any, ...], seed: int
) -> None:
    dirty = trained_with(perturbed(VICTIMS[who], changes, resize, seed), *options)
    for name, value in CLEAN[options].items():
        assert dirty[name] == value, name


@pytest.mark.parametrize("kind", ["noise", "nan", "huge", "minus huge"])
@pytest.mark.parametrize("who", VICTIMS)
def test_everything_about_them_may_be_wrong_at_once(who: str, kind: str) -> None:
    bags = perturbed(VICTIMS[who], dict.fromkeys(FIELDS, kind), True, 0)
    for options, clean in CLEAN.items():
        assert trained_with(bags, *options) == clean


@pytest.mark.parametrize(
    ("field", "seen_in"),
    [("x2d", "stats"), ("xinst", "stats"), ("abs", "stats"), ("fluo", "stats"), ("y", "sampler weights"), ("w", "batches")],
)
def test_the_comparison_sees_a_change_of_training_molecules(field: str, seen_in: str) -> None:
    """The tests above can fail: the same noise at training molecules shows."""
    victims = np.flatnonzero(FOLD_OF == 1)
    dirty = trained_with(perturbed(victims, {field: "noise"}, False, 0), "none")
    assert dirty[seen_in] != CLEAN["none", False][seen_in]
    assert dirty != CLEAN["none", False]
