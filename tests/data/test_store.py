"""A bag store is whole or not there, and comes back bit for bit."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from builders import make_bags, make_tasks
from milbench.data import store_writer
from milbench.data.bags import BagData
from milbench.data.manifest import load_labels, read_manifest
from milbench.data.store import conformer_table, load_store, save_store
from milbench.errors import DataError
from milbench.tasks import EUOS25


def named(bags: BagData) -> BagData:
    smiles = np.array(["C" * (1 + i % 3) for i in range(len(bags))], dtype=object)
    return dataclasses.replace(bags, smiles=smiles, notes=("3 rows dropped",), content="abc", fold=np.arange(len(bags)) % 3)


def arrays(bags: BagData) -> dict[str, object]:
    """Everything in a data set by name, tensors and raw targets as arrays."""
    whole = vars(bags) | vars(bags.raw)
    del whole["raw"]
    return {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in whole.items()}


def same(ours: BagData, theirs: BagData) -> bool:
    for one, other in zip(arrays(ours).values(), arrays(theirs).values(), strict=True):
        if isinstance(one, np.ndarray) and one.dtype != object:
            if one.dtype != other.dtype or one.tobytes() != other.tobytes():
                return False
        elif not np.array_equal(one, other):
            return False
    return True


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(("n_tasks", "n_abs", "n_fluo"), [(4, 2, 4), (1, 0, 0), (7, 1, 0)])
def test_a_data_set_comes_back_bit_for_bit(tmp_path: Path, mmap: bool, n_tasks: int, n_abs: int, n_fluo: int) -> None:
    bags = named(make_bags(20, n_tasks, n_abs=n_abs, n_fluo=n_fluo, missing=0.1))
    tasks = EUOS25 if n_tasks == 4 else make_tasks(n_tasks, n_abs, n_fluo)
    save_store(tmp_path / "store", bags, tasks, provenance={"seed": 0})
    again, again_tasks = load_store(tmp_path / "store", mmap=mmap)
    assert same(again, dataclasses.replace(bags, provenance={"seed": 0}))
    assert again_tasks == tasks
    index = torch.tensor([3, 0, 19])
    assert torch.equal(again.gather(index).xinst, bags.gather(index).xinst)


def test_the_labels_of_a_store_are_read_without_its_features(tmp_path: Path) -> None:
    bags = named(make_bags(20, missing=0.1))
    save_store(tmp_path / "store", bags, EUOS25, provenance={})
    (tmp_path / "store" / "xinst.npy").unlink()
    labels = load_labels(tmp_path / "store")
    np.testing.assert_array_equal(labels.y, bags.raw.y)
    assert (labels.tasks, labels.content) == (EUOS25, "abc")
    assert labels.split.tolist() == bags.split.tolist()
    assert labels.fold.tolist() == bags.fold.tolist()
    (tmp_path / "store" / "target_y.npy").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"target_y\.npy: is not the file that was stored, got '4 bytes'"):
        load_labels(tmp_path / "store")


def test_the_comparison_sees_a_single_bit(tmp_path: Path) -> None:
    bags = named(make_bags(20))
    other = bags.raw.take(np.arange(20))
    other.w[7, 1] = np.nextafter(other.w[7, 1], 9)
    assert not same(dataclasses.replace(bags, raw=other), bags)


def test_the_manifest_says_what_the_data_are(tmp_path: Path) -> None:
    bags = named(make_bags(20))
    save_store(tmp_path / "store", bags, EUOS25, provenance={"from": "labels.csv"}, units={"g0": "Å"})
    manifest = read_manifest(tmp_path / "store")
    assert manifest["schema"] == 1
    assert manifest["counts"] == {"molecules": 20, "conformers": len(bags.xinst)}
    assert manifest["features_2d"] == list(bags.names2d)
    assert manifest["units"] == {"g0": "Å"}
    assert manifest["provenance"] == {"from": "labels.csv"}
    assert manifest["content"] == "abc"
    assert manifest["notes"] == ["3 rows dropped"]


def test_conformer_columns_and_coordinates_are_kept_in_the_order_of_the_bags(tmp_path: Path) -> None:
    bags = make_bags(20)
    rows = conformer_table(bags)
    extra = rows.assign(energy=np.arange(len(rows), dtype=float)).iloc[::-1]
    xyz, offsets = np.zeros((2 * len(rows), 3)), np.arange(len(rows) + 1) * 2
    save_store(tmp_path / "store", bags, EUOS25, provenance={}, conformers=extra, coordinates=(xyz, offsets))
    table = pd.read_parquet(tmp_path / "store" / "conformers.parquet")
    assert table["energy"].tolist() == list(range(len(rows)))
    assert table["ID"].tolist() == np.repeat(bags.ids, bags.bag_sizes).tolist()
    assert np.load(tmp_path / "store" / "coordinates.npy").dtype == np.float32
    assert np.load(tmp_path / "store" / "coordinate_offsets.npy")[-1] == len(xyz)


@pytest.mark.parametrize("crash_at", ["array_writer", "file_hash", "write_json"])
def test_a_crash_while_saving_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: str) -> None:
    def crash(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store_writer, crash_at, crash)
    with pytest.raises(OSError, match="disk full"):
        save_store(tmp_path / "store", make_bags(10), EUOS25, provenance={})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    save_store(tmp_path / "store", named(make_bags(10)), EUOS25, provenance={})
    with pytest.raises(DataError, match="is there already"):
        save_store(tmp_path / "store", make_bags(12), EUOS25, provenance={})
    assert len(load_store(tmp_path / "store")[0]) == 10


FILES = ["manifest.json", "molecules.parquet", "conformers.parquet", "x2d.npy", "xinst.npy", "offsets.npy", "target_y.npy"]


@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "garbage"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_store_is_one_line_that_names_the_file(tmp_path: Path, name: str, damage: str) -> None:
    save_store(tmp_path / "store", make_bags(10), EUOS25, provenance={})
    path = tmp_path / "store" / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "torn": whole[: len(whole) // 2], "garbage": b"\xff\x00garbage" * 20}[damage])
    for mmap in (False, True):
        with pytest.raises(DataError, match=name) as caught:
            load_store(tmp_path / "store", mmap=mmap)
        assert "\n" not in str(caught.value)


def test_files_of_different_stores_do_not_make_one(tmp_path: Path) -> None:
    for n in (10, 12):
        save_store(tmp_path / f"{n}", make_bags(n), EUOS25, provenance={})
    for name in ("x2d.npy", "target_y.npy", "conformers.parquet", "molecules.parquet"):
        whole = (tmp_path / "10" / name).read_bytes()
        (tmp_path / "10" / name).write_bytes((tmp_path / "12" / name).read_bytes())
        with pytest.raises(DataError, match=f"{name}: is not the file that was stored"):
            load_store(tmp_path / "10")
        (tmp_path / "10" / name).write_bytes(whole)
    load_store(tmp_path / "10")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: {**m, "schema": 99}, "schema, got 99, want 1; prepare it again"),
        (lambda m: {k: v for k, v in m.items() if k != "features_2d"}, "'features_2d' is missing"),
        (lambda m: {**m, "tasks": {"name": "x"}}, "not a task set"),
        (lambda m: [1, 2], "schema, want 1"),
    ],
)
def test_a_manifest_of_another_kind_is_one_line(tmp_path: Path, change, said: str) -> None:
    save_store(tmp_path / "store", make_bags(10), EUOS25, provenance={})
    path = tmp_path / "store" / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(Exception, match=said) as caught:
        load_store(tmp_path / "store")
    assert "manifest.json" in str(caught.value)


def test_a_folder_that_is_no_store_says_how_to_get_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError, match=r"is not a bag store \(no manifest\.json\); make one with `milbench demo`"):
            load_store(folder)
