"""A store in stretches: cut where it must be, read where it must be."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_bags
from milbench.data.store import save_store
from milbench.data.store_blocks import StoreBlocks, cut
from milbench.errors import DataError
from milbench.files import read_rows, write_array
from milbench.tasks import EUOS25


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 8), st.integers(1, 40))
def test_stretches_cover_every_molecule_once_and_keep_to_their_limits(sizes: list[int], molecules: int, instances: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    edges = cut(offsets, 0, len(sizes), molecules, instances)
    assert edges[0] == 0 and edges[-1] == len(sizes) and (np.diff(edges) > 0).all()
    assert np.diff(edges).max() <= molecules
    for start, stop in pairwise(edges.tolist()):
        assert stop == start + 1 or offsets[stop] - offsets[start] <= instances
        full = stop == len(sizes) or stop - start == molecules or offsets[stop + 1] - offsets[start] > instances
        assert full  # none is shorter than it need be


def test_rows_of_an_array_are_read_alone(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(20, 3)
    write_array(tmp_path / "a.npy", array)
    for start, stop in ((0, 20), (0, 0), (7, 8), (19, 20), (20, 20)):
        np.testing.assert_array_equal(read_rows(tmp_path / "a.npy", start, stop), array[start:stop])
    (tmp_path / "torn.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-12])
    np.testing.assert_array_equal(read_rows(tmp_path / "torn.npy", 0, 5), array[:5])
    for name, said in (("torn", "not a readable .npy array"), ("none", "no such file")):
        with pytest.raises(DataError, match=rf"{name}\.npy: {said}"):
            read_rows(tmp_path / f"{name}.npy", 15, 20)
    (tmp_path / "text.npy").write_text("no array at all")
    with pytest.raises(DataError, match=r"text\.npy: not a readable"):
        read_rows(tmp_path / "text.npy", 0, 1)


def test_a_torn_store_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    store = save_store(tmp_path / "store", make_bags(8), EUOS25, provenance={})
    whole = (store / "molecules.parquet").read_bytes()
    (store / "molecules.parquet").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"molecules\.parquet: is not the file that was stored"):
        StoreBlocks(store)
    (store / "molecules.parquet").write_bytes(whole[:-20] + b"x" * 20)
    with pytest.raises(DataError, match=r"molecules\.parquet: cannot be read"):
        StoreBlocks(store)
