"""A ragged batch holds exactly its molecules' rows."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import make_bags, make_cv, tiny_config
from milbench.data.bags import BagData, make_batch
from milbench.errors import DataError

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(SIZES, st.data())
def test_a_batch_is_what_a_loop_over_its_molecules_collects(sizes: list[int], data: st.DataObject) -> None:
    bags = make_bags(len(sizes), sizes=np.array(sizes))
    index = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=9))
    batch = bags.gather(torch.tensor(index, dtype=torch.int64))
    assert len(batch) == len(index)
    assert batch.index.tolist() == index
    start = 0
    for b, molecule in enumerate(index):
        own = bags.xinst[bags.offsets[molecule] : bags.offsets[molecule + 1]]
        end = start + len(own)
        assert torch.equal(batch.xinst[start:end], own)
        assert torch.equal(batch.x2d[b], bags.x2d[molecule])
        assert batch.segment[start:end].tolist() == [b] * len(own)
        assert batch.offsets[b : b + 2].tolist() == [start, end]
        start = end
    assert len(batch.xinst) == start


def test_a_batch_is_a_copy() -> None:
    bags = make_bags()
    before = bags.xinst.clone(), bags.x2d.clone()
    batch = bags.gather(torch.arange(len(bags)))
    batch.xinst.zero_()
    batch.x2d.zero_()
    assert torch.equal(bags.xinst, before[0])
    assert torch.equal(bags.x2d, before[1])


def test_half_precision_instances_become_float32_in_the_batch() -> None:
    bags = dataclasses.replace(make_bags(), xinst=make_bags().xinst.half())
    assert bags.gather(torch.tensor([3, 1])).xinst.dtype == torch.float32


def test_targets_follow_their_molecules() -> None:
    data = make_cv()
    fold = data.fold(0)
    targets = fold.targets(tiny_config().loss)
    index = torch.tensor([5, 2, 5])
    batch = fold.batch(index, targets)
    for field in dataclasses.fields(targets):
        assert torch.equal(getattr(batch.targets, field.name), getattr(targets, field.name)[index])


def test_moving_a_batch_keeps_every_value() -> None:
    data = make_cv()
    batch = data.fold(0).batch(torch.tensor([1, 0]), data.fold(0).targets(tiny_config().loss))
    there = batch.to("meta")
    assert there.x2d.device.type == there.segment.device.type == there.targets.w.device.type == "meta"
    same = batch.to("cpu")
    assert torch.equal(same.xinst, batch.xinst)
    assert torch.equal(same.targets.group, batch.targets.group)


@given(SIZES)
def test_offsets_alone_make_the_segments(sizes: list[int]) -> None:
    offsets = torch.tensor([0, *np.cumsum(sizes)])
    batch = make_batch(torch.zeros(len(sizes), 2), torch.zeros(sum(sizes), 3), offsets)
    assert batch.segment.tolist() == [b for b, size in enumerate(sizes) for _ in range(size)]


def _with(**changes: object) -> BagData:
    return dataclasses.replace(make_bags(10), **changes)  # type: ignore[arg-type]


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    bags = make_bags(10)
    rows = len(bags.xinst)
    wrong = {
        "x2d has 9 molecules, ids has 10": {"x2d": bags.x2d[1:]},
        "split has 9 molecules": {"split": bags.split[1:]},
        "y has 9 molecules": {"raw": bags.raw.take(np.arange(9))},
        "smiles has 1 molecules": {"smiles": np.array(["C"])},
        "offsets do not partition": {"offsets": bags.offsets + 1},
        f"conf_ids has {rows - 1} rows, xinst has {rows}": {"conf_ids": bags.conf_ids[1:]},
        "x2d has 5 columns, 1 are named": {"names2d": ("d",)},
        "xinst has 6 columns, 7 are named": {"names_inst": (*bags.names_inst, "g")},
    }
    for said, changes in wrong.items():
        with pytest.raises(DataError, match=said):
            _with(**changes)
    backwards = bags.offsets.clone()
    backwards[1:3] = backwards[1:3].flip(0)
    with pytest.raises(DataError, match="offsets do not partition"):
        _with(offsets=backwards if (backwards.diff() < 0).any() else bags.offsets.flip(0))
