"""A store grows by writing a new one, can be halved, and knows when a file of it has changed."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from builders import make_bags, make_tasks, store_from_tables
from milbench.data.bags import BagData
from milbench.data.manifest import read_manifest
from milbench.data.store import conformer_table, load_store, save_store
from milbench.data.store_append import append_store
from milbench.errors import DataError
from milbench.tasks import EUOS25


def stored(folder: Path, prefix: str, n: int, **changes: int) -> BagData:
    bags = make_bags(n, seed=n, **changes)
    ids = np.array([f"{prefix}{i}" for i in range(n)], dtype=object)
    bags = dataclasses.replace(bags, ids=ids, smiles=np.full(n, "CCO", dtype=object))
    rows = conformer_table(bags)
    atoms = np.arange(len(rows)) % 3 + 1
    xyz = np.random.default_rng(n).normal(size=(atoms.sum(), 3))
    offsets = np.concatenate([[0], np.cumsum(atoms)])
    save_store(folder, bags, EUOS25, provenance={"from": prefix}, conformers=rows.assign(e=1.5), coordinates=(xyz, offsets))
    return bags


def test_appending_gives_the_molecules_of_both_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milbench.data.store_append._PIECE", 7)
    one, other = stored(tmp_path / "one", "a", 20), stored(tmp_path / "other", "b", 12)
    append_store(tmp_path / "one", tmp_path / "other", tmp_path / "both")
    both, _ = load_store(tmp_path / "both", check=True)
    assert both.ids.tolist() == [*one.ids, *other.ids] and both.conf_ids.tolist() == [*one.conf_ids, *other.conf_ids]
    for name in ("x2d", "xinst"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(one, name), getattr(other, name)]))
    assert both.bag_sizes.tolist() == [*one.bag_sizes, *other.bag_sizes]
    np.testing.assert_array_equal(both.raw.abs, np.concatenate([one.raw.abs, other.raw.abs]))
    for name in ("coordinates", "coordinate_offsets"):
        parts = [np.load(tmp_path / store / f"{name}.npy") for store in ("one", "other")]
        if name == "coordinate_offsets":
            parts[1] = parts[1][1:] + parts[0][-1]
        np.testing.assert_array_equal(np.load(tmp_path / "both" / f"{name}.npy"), np.concatenate(parts))
    assert set(pd.read_parquet(tmp_path / "both" / "conformers.parquet")["e"]) == {1.5}
    assert read_manifest(tmp_path / "both")["notes"][-1] == "12 molecules of other appended to 20"
    assert both.content != one.content


def test_an_id_in_both_is_refused(tmp_path: Path) -> None:
    stored(tmp_path / "one", "a", 20)
    stored(tmp_path / "other", "a", 3)
    with pytest.raises(DataError, match=r"3 IDs are in .*one too, got 'a0'"):
        append_store(tmp_path / "one", tmp_path / "other", tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_stores_of_different_columns_or_tasks_are_refused(tmp_path: Path) -> None:
    stored(tmp_path / "one", "a", 20)
    stored(tmp_path / "wider", "b", 20, f3=7)
    save_store(tmp_path / "tasks", make_bags(9, 2, n_abs=0, n_fluo=0), make_tasks(2), provenance={})
    with pytest.raises(DataError, match="has other conformer features"):
        append_store(tmp_path / "one", tmp_path / "wider", tmp_path / "both")
    with pytest.raises(DataError, match="has other tasks"):
        append_store(tmp_path / "one", tmp_path / "tasks", tmp_path / "both")


def test_auxiliaries_that_one_store_lacks_are_missing_there(tmp_path: Path) -> None:
    one = stored(tmp_path / "one", "a", 20)
    stored(tmp_path / "other", "b", 12, n_abs=0)
    append_store(tmp_path / "one", tmp_path / "other", tmp_path / "both")
    raw = load_store(tmp_path / "both")[0].raw
    np.testing.assert_array_equal(raw.abs[:20], one.raw.abs)
    assert np.isnan(raw.abs[20:]).all() and (raw.w_abs[20:] == 0).all()


def test_a_changed_byte_is_found_and_the_file_is_named(tmp_path: Path) -> None:
    stored(tmp_path / "one", "a", 20)
    path = tmp_path / "one" / "xinst.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    load_store(tmp_path / "one")
    with pytest.raises(DataError, match=r"xinst\.npy: is not the file that was stored \(its content has changed\)"):
        load_store(tmp_path / "one", check=True)


def test_half_precision_keeps_an_account_of_what_it_costs(tmp_path: Path) -> None:
    bags = make_bags(20)
    bags.xinst[:, 2] = 1000 + torch.rand(len(bags.xinst))  # steps of 0.5 in half precision
    save_store(tmp_path / "half", bags, EUOS25, provenance={}, float16=True)
    half, loss = load_store(tmp_path / "half")[0].xinst, read_manifest(tmp_path / "half")["float16"]
    assert torch.equal(half, bags.xinst.half())
    error = (half.double() - bags.xinst.double()).abs()
    assert loss["max_error_in_sd"] == pytest.approx((error.amax(0) / bags.xinst.double().std(0, correction=0)).max().item())
    assert loss["worst_column"] == bags.names_inst[2] and 0.5 < loss["max_error_in_sd"] < 1.5
    normal = bags.xinst.abs() >= np.finfo(np.float16).tiny
    assert loss["max_relative_error"] == pytest.approx((error / bags.xinst.abs())[normal].max().item(), rel=1e-5)
    batch = load_store(tmp_path / "half", mmap=True)[0].gather(torch.tensor([0, 3]))
    assert batch.xinst.dtype == torch.float32


def test_appending_halved_stores_keeps_their_account(tmp_path: Path) -> None:
    for name in ("one", "other"):
        bags = make_bags(20, seed=len(name))
        ids = np.array([f"{name}{i}" for i in range(20)], dtype=object)
        save_store(tmp_path / name, dataclasses.replace(bags, ids=ids), EUOS25, provenance={}, float16=True)
    append_store(tmp_path / "one", tmp_path / "other", tmp_path / "both")
    losses = [read_manifest(tmp_path / name)["float16"]["max_error_in_sd"] for name in ("one", "other", "both")]
    assert losses[2] == max(losses[:2]) > 0
    assert load_store(tmp_path / "both")[0].xinst.dtype == torch.float16


def test_a_column_that_half_precision_cannot_hold_is_named(tmp_path: Path) -> None:
    bags = make_bags(20)
    bags.xinst[5, 1] = 70000
    with pytest.raises(DataError, match=f"column {bags.names_inst[1]}: got 70000.0, want at most 65504"):
        save_store(tmp_path / "half", bags, EUOS25, provenance={}, float16=True)
    assert list(tmp_path.iterdir()) == []


def test_feature_tables_become_a_store(tmp_path: Path) -> None:
    n = 6
    labels = pd.DataFrame({"ID": [f"m{i}" for i in range(n)]} | {name: [0, 1] * 3 for name in EUOS25.names})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    pd.DataFrame({"ID": labels["ID"], "a": np.arange(n)}).to_parquet(tmp_path / "2d.parquet")
    rows = pd.DataFrame({"ID": np.repeat(labels["ID"], 2), "conf_id": [0, 1] * n, "b": np.arange(2.0 * n)})
    rows.to_parquet(tmp_path / "3d.parquet")
    store_from_tables(tmp_path / "store", tmp_path / "labels.csv", tmp_path / "2d.parquet", [tmp_path / "3d.parquet"])
    bags, tasks = load_store(tmp_path / "store", check=True)
    assert tasks == EUOS25 and bags.x2d.flatten().tolist() == list(range(n)) and bags.bag_sizes.tolist() == [2] * n
