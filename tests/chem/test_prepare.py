"""`milbench prepare`: every row of the input ends as the report says, and the store is right."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prepared import config, nci, prepared

from milbench import progress
from milbench.chem.conformers import KT
from milbench.chem.molecules import standardise
from milbench.chem.prepare import prepare
from milbench.data.manifest import read_manifest
from milbench.data.store import load_store
from milbench.errors import ConfigError, DataError
from milbench.prepare_config import PrepareConfig

HOSTILE = """ID,SMILES,Transmittance_340,Transmittance_450,Fluorescence_340_450,Fluorescence_more_than_480,split,cv_fold
ethanol,CCO,0,0,1,0,train,2
salt,CC(=O)[O-].[Na+],1,0,0,0,train,0
nonsense,hello,1,1,1,1,train,0

radical,C[CH]C,0,0,0,0,train,1
isotope,[2H]C([2H])([2H])O,,0,0,,train,1
again,OCC,0,0,0,0,leaderboard,
ethanol,CCCC,1,1,1,1,train,0
nothing,,0,0,0,0,train,0
ring,{ring},0,0,0,0,train,0
iron,[Fe],0,0,0,0,train,0
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "in.csv").write_text(HOSTILE.format(ring="O1" + "C" * 198 + "N1"))
    sets = {"sets_2d": ("rdkit217",), "sets_3d": ("autocorr3d", "huckel"), "time_limit": 2.0}
    return prepared(folder / "in.csv", folder / "store", **sets), folder / "store"


def test_every_row_ends_as_the_report_says(hostile: tuple[pd.DataFrame, Path]) -> None:
    report, _ = hostile
    assert report[["ID", "outcome", "reason"]].to_numpy().tolist() == [
        ["ethanol", "kept", ""],
        ["salt", "changed", "largest_fragment, neutralised, rewritten"],
        ["nonsense", "dropped", "unparsable"],
        ["", "dropped", "empty"],
        ["radical", "kept", ""],
        ["isotope", "kept", ""],
        ["again", "changed", "rewritten"],
        ["ethanol", "dropped", "duplicate_id"],
        ["nothing", "dropped", "empty"],
        ["ring", "dropped", "time_limit"],
        ["iron", "dropped", "not_finite"],
    ]
    assert report["detail"][10] == "more than 2 s, at: conformers"
    assert report["duplicate_of"][7] == "ethanol"


def test_the_store_holds_the_rows_that_were_kept_with_their_labels(hostile: tuple[pd.DataFrame, Path]) -> None:
    report, store = hostile
    bags, tasks = load_store(store, check=True)
    assert bags.ids.tolist() == ["ethanol", "salt", "radical", "isotope", "again"]
    assert bags.smiles.tolist() == ["CCO", "CC(=O)O", "C[CH]C", "[2H]C([2H])([2H])O", "CCO"]
    assert bags.raw.y[:, 0].tolist()[:3] == [0, 1, 0] and np.isnan(bags.raw.y[3]).tolist() == [True, False, False, True]
    assert bags.split.tolist() == ["train"] * 4 + ["leaderboard"] and bags.fold.tolist() == [2, 0, 1, 1, -1]
    assert bags.bag_sizes.tolist() == report["conformers"][report["outcome"] != "dropped"].tolist()
    assert np.isfinite(bags.x2d.numpy()).all() and np.isfinite(bags.xinst.numpy()).all()
    assert tasks.name == "EUOS25"


def test_molecules_are_told_as_they_are_computed_and_as_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "listeners", [lambda *heard: told.append(heard)])
    nci(6).to_csv(tmp_path / "in.csv", index=False)
    prepared(tmp_path / "in.csv", tmp_path / "store")
    assert [done for title, done, total in told if (title, total) == ("molecules", 6)] == [0, 1, 2, 3, 4, 5, 6]
    assert [done for title, done, total in told if (title, total) == ("store", 6)] == [0, 4, 6]


def test_the_manifest_counts_what_the_report_lists(hostile: tuple[pd.DataFrame, Path]) -> None:
    report, store = hostile
    counts = read_manifest(store)["prepare"]
    dropped = report[report["outcome"] == "dropped"]["reason"].value_counts().to_dict()
    assert counts["rows"] == 11 and (counts["kept"], counts["changed"]) == (3, 2)
    assert counts["dropped"] == dropped and counts["duplicates"] == 1


def test_coordinates_are_those_of_the_heavy_atoms_in_the_order_of_the_smiles(hostile: tuple[pd.DataFrame, Path]) -> None:
    _, store = hostile
    bags, _ = load_store(store)
    xyz, edges = np.load(store / "coordinates.npy"), np.load(store / "coordinate_offsets.npy")
    heavy = [sum(a.GetAtomicNum() > 1 for a in standardise(smiles).mol.GetAtoms()) for smiles in bags.smiles]
    assert np.diff(edges).tolist() == np.repeat(heavy, bags.bag_sizes).tolist() and edges[-1] == len(xyz)
    bonds = xyz[edges[:-1]] - xyz[edges[:-1] + 1]  # in each SMILES here the second heavy atom is bonded to the first
    assert ((np.linalg.norm(bonds, axis=1) > 1.2) & (np.linalg.norm(bonds, axis=1) < 1.6)).all()


def test_a_column_that_many_molecules_lack_leaves_and_is_named(tmp_path: Path) -> None:
    rows = pd.DataFrame({"ID": ["a", "b", "c", "d"], "SMILES": ["CCO", "[Fe]", "[Ni]", "CCC"]})
    rows.to_parquet(tmp_path / "in.parquet")
    sets = {"conformers": 0, "sets_2d": ("rdkit217",)}
    lines = prepare(config(tmp_path / "in.parquet", tmp_path / "store", **sets))
    left_out = read_manifest(tmp_path / "store")["prepare"]["columns_left_out"]
    bags, _ = load_store(tmp_path / "store")
    assert left_out["BCUT2D_MWHI"] == 2 and "BCUT2D_MWHI" not in bags.names2d and len(bags) == 4
    assert any(f"{len(left_out)} columns are left out" in line and "BCUT2D_MWHI 2" in line for line in lines)
    report = prepared(tmp_path / "in.parquet", tmp_path / "fewer", nonfinite="drop_molecules", **sets)
    assert report["reason"].tolist() == ["", "not_finite", "not_finite", ""]
    assert len(load_store(tmp_path / "fewer")[0].names2d) == 217
    prepared(tmp_path / "in.parquet", tmp_path / "nan", nonfinite="keep", **sets)
    assert np.isnan(load_store(tmp_path / "nan")[0].x2d.numpy()).any()


def test_a_table_without_labels_gives_a_store_for_prediction(tmp_path: Path) -> None:
    nci(6).to_csv(tmp_path / "in.csv", index=False)
    lines = prepare(config(tmp_path / "in.csv", tmp_path / "store"))
    bags, _ = load_store(tmp_path / "store")
    assert np.isnan(bags.raw.y).all() and bags.raw.y.shape == (6, 4)
    assert any("no label column" in line for line in lines)


@pytest.mark.parametrize("flag", ["split_col", "fold_col"])
def test_a_split_or_fold_column_that_was_named_must_be_there(tmp_path: Path, flag: str) -> None:
    nci(6).to_csv(tmp_path / "in.csv", index=False)
    lines = prepare(config(tmp_path / "in.csv", tmp_path / "store"))
    assert any("no split column, all molecules are train" in line for line in lines)
    with pytest.raises(DataError, match=r"in\.csv: column 'mine' is missing"):
        prepare(config(tmp_path / "in.csv", tmp_path / "other", **{flag: "mine"}))
    assert not list((tmp_path / "other.work" / "shards").iterdir())


def test_a_wrong_label_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    rows = nci(6).assign(**dict.fromkeys(("Transmittance_450", "Fluorescence_340_450", "Fluorescence_more_than_480"), 0))
    rows.assign(Transmittance_340=[0, 1, 0, 7, 0, 0]).to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(DataError, match="row 4, column Transmittance_340: got 7"):
        prepare(config(tmp_path / "in.csv", tmp_path / "store"))
    assert not list((tmp_path / "store.work" / "shards").iterdir())


def test_energies_come_with_the_optimisation_and_weigh_the_conformers(tmp_path: Path) -> None:
    nci(4).to_csv(tmp_path / "in.csv", index=False)
    prepared(tmp_path / "in.csv", tmp_path / "store", mmff=50, sets_3d=("energy", "eht"), conformers=4, nonfinite="keep")
    table = pd.read_parquet(tmp_path / "store" / "conformers.parquet")
    bags, _ = load_store(tmp_path / "store")
    assert bags.names_inst == ("relative_energy", "boltzmann_weight", "eht_homo", "eht_lumo", "eht_gap")
    np.testing.assert_allclose(bags.xinst[:, 0], table["relative_energy"], rtol=1e-5)
    for _, bag in table.groupby("ID"):
        assert bag["relative_energy"].min() == 0 and bag["boltzmann_weight"].sum() == pytest.approx(1)
        ratio = bag["boltzmann_weight"] / bag["boltzmann_weight"].max()
        np.testing.assert_allclose(ratio, np.exp(-bag["relative_energy"] / KT))
    with pytest.raises(ConfigError, match="--mmff"):
        config(tmp_path / "in.csv", tmp_path / "other", sets_3d=("energy",))


def test_no_conformer_is_kept_twice(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("c1ccc2ccccc2c1 naphthalene\nCCCCCC hexane\n")
    report = prepared(tmp_path / "in.smi", tmp_path / "store", conformers=8, prune_rms=0.2)
    assert report["conformers"][1] == 1 and report["conformers"][2] > 1
    with pytest.raises(ConfigError, match="prune_rms"):
        config(tmp_path / "in.smi", tmp_path / "other", prune_rms=0.0)


def test_a_molecule_without_conformer_is_dropped_or_kept_empty(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("C[C@@]12C[C@]1(C)C2 cage\nCCO ethanol\n")
    report = prepared(tmp_path / "in.smi", tmp_path / "store")
    assert report["reason"].tolist() == ["no_conformer", ""] and "no geometry" in report["detail"][1]
    prepared(tmp_path / "in.smi", tmp_path / "empty", keep_empty_bags=True)
    assert load_store(tmp_path / "empty")[0].bag_sizes[0] == 0


def test_the_columns_of_another_store_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "first.smi").write_text("[Fe] a\n[Ni] b\nCCO c\n")
    (tmp_path / "second.smi").write_text("CCCO d\nCCN e\n")
    sets = {"conformers": 0, "sets_2d": ("rdkit217",)}
    prepared(tmp_path / "first.smi", tmp_path / "first", **sets)
    prepared(tmp_path / "second.smi", tmp_path / "second", like=tmp_path / "first", **sets)
    one, other = (load_store(tmp_path / name)[0] for name in ("first", "second"))
    assert one.names2d == other.names2d and len(one.names2d) < 217
    with pytest.raises(ConfigError, match="--like: has a column that these sets do not make"):
        prepared(tmp_path / "second.smi", tmp_path / "third", like=tmp_path / "first", sets_2d=("maccs",))
    assert not (tmp_path / "third.work").exists()  # said before anything was computed


def test_what_is_not_given_is_as_in_the_store_that_is_to_be_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "first.smi").write_text("CCCCO a\nCCCCN b\n")
    (tmp_path / "second.smi").write_text("CCCCCO c\nCCCCCN d\n")
    sets = {"conformers": 2, "sets_2d": ("rdkit217", "maccs"), "sets_3d": ("usr",), "seed": 7}
    prepared(tmp_path / "first.smi", tmp_path / "first", **sets)
    with caplog.at_level("INFO", "milbench"):
        prepare(PrepareConfig(tmp_path / "second.smi", tmp_path / "bare", like=tmp_path / "first", seed=8, processes=1))
    assert f"as {tmp_path / 'first'}: sets_2d rdkit217 maccs, sets_3d usr, conformers 2" in caplog.text
    assert " in 1 shard, 0 of them finished before" in caplog.text
    prepared(tmp_path / "second.smi", tmp_path / "whole", like=tmp_path / "first", **{**sets, "seed": 8})
    bare, whole = (load_store(tmp_path / name)[0] for name in ("bare", "whole"))
    assert bare.content == whole.content
    assert set(bare.bag_sizes) == {2}


def test_a_store_in_half_precision_says_what_that_costs(tmp_path: Path) -> None:
    nci(6).to_csv(tmp_path / "in.csv", index=False)
    lines = prepare(config(tmp_path / "in.csv", tmp_path / "store", float16=True))
    prepared(tmp_path / "in.csv", tmp_path / "whole")
    half, whole = (load_store(tmp_path / name)[0].xinst.numpy() for name in ("store", "whole"))
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    loss = json.loads((tmp_path / "store" / "manifest.json").read_text())["float16"]
    assert 0 < loss["max_relative_error"] <= 2**-11 and loss["worst_column"] in load_store(tmp_path / "store")[0].names_inst
    assert any("standard deviations" in line for line in lines)


def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    nci(3).to_csv(tmp_path / "in.csv", index=False)
    for changes, said in (
        ({"sets_2d": ("rdkit218",)}, "feature set: got 'rdkit218'"),
        ({"sets_3d": ("usr", "usr")}, "comes twice"),
        ({"id_col": "Id"}, "column 'Id' is missing"),
    ):
        with pytest.raises((ConfigError, DataError), match=said) as caught:
            prepare(config(tmp_path / "in.csv", tmp_path / "store", **changes))
        assert "\n" not in str(caught.value)
    (tmp_path / "bad.smi").write_text("hello\n")
    with pytest.raises(DataError, match="no molecule is left; the first row was dropped: unparsable not a SMILES string"):
        prepare(config(tmp_path / "bad.smi", tmp_path / "bad"))
