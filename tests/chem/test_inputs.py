"""The formats that users bring give the same molecules, and coordinates of their own are kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prepared import config, nci, prepared
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from milbench.chem.conformers import ConformerConfig, Conformers, embed
from milbench.chem.inputs import read_rows
from milbench.chem.molecules import standardise
from milbench.data.store import load_store
from milbench.errors import DataError
from milbench.tasks import EUOS25

ACID = "C[C@H](N)C(=O)Nc1ccc(C(=O)O)cc1"


def sdf(path: Path, records: list[tuple[str, Chem.Mol, int, dict[str, str]]]) -> Path:
    """Write (name, molecule, conformer, properties) as records."""
    text = []
    for name, mol, conformer, properties in records:
        mol.SetProp("_Name", name)
        block = Chem.MolToMolBlock(mol, confId=conformer)
        text.append(block + "".join(f"> <{key}>\n{value}\n\n" for key, value in properties.items()) + "$$$$\n")
    path.write_text("".join(text))
    return path


@pytest.fixture(scope="module")
def acid() -> Conformers:
    return embed(standardise(ACID), ConformerConfig(n=3))


def test_csv_parquet_and_smi_give_the_same_store(tmp_path: Path) -> None:
    rows = nci(6)
    rows.to_csv(tmp_path / "in.csv", index=False)
    rows.astype({"ID": int}).to_parquet(tmp_path / "in.parquet")
    rows[["SMILES", "ID"]].to_csv(tmp_path / "in.smi", sep="\t", header=False, index=False)
    stores = []
    for suffix in ("csv", "parquet", "smi"):
        prepared(tmp_path / f"in.{suffix}", tmp_path / suffix)
        stores.append(load_store(tmp_path / suffix)[0])
    for other in stores[1:]:
        np.testing.assert_array_equal(other.xinst, stores[0].xinst)
        np.testing.assert_array_equal(other.x2d, stores[0].x2d)
        assert other.ids.tolist() == stores[0].ids.tolist() and other.smiles.tolist() == stores[0].smiles.tolist()


def test_a_long_table_is_read_in_stretches_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    rows = pd.DataFrame({"name": [f"00{i}" for i in range(10_000)], "smiles": "CCO", "split": "train", "other": 1})
    rows.loc[9_000, "name"] = ""
    rows.to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(DataError, match="row 9001, column name: is empty"):
        list(read_rows(config(tmp_path / "in.csv", tmp_path / "x", id_col="name"), EUOS25))
    rows.loc[9_000, "name"] = "x"
    rows.to_csv(tmp_path / "in.csv", index=False)
    tables = list(read_rows(config(tmp_path / "in.csv", tmp_path / "x", id_col="name"), EUOS25))
    assert max(map(len, tables)) <= 4096 and sum(map(len, tables)) == 10_000
    assert tables[0].column_names == ["ID", "structure", "split"] and tables[0]["ID"][7].as_py() == "007"


def test_a_smi_line_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("CCO\n\nCC two words\n")
    report = prepared(tmp_path / "in.smi", tmp_path / "store")
    assert report["ID"].tolist() == ["1", "2", "two words"] and report["reason"].tolist() == ["", "empty", ""]


def test_the_conformers_of_an_sdf_are_kept_as_they_are(tmp_path: Path, acid: Conformers) -> None:
    order = list(np.random.default_rng(0).permutation(acid.mol.GetNumAtoms()))
    shuffled = Chem.RenumberAtoms(acid.mol, [int(i) for i in order])
    label = {"Transmittance_340": "1", "Transmittance_450": "0", "Fluorescence_340_450": "0", "Fluorescence_more_than_480": ""}
    records = [("acid", shuffled, i, label if i == 0 else {}) for i in range(3)] + [("other", acid.mol, 0, {})]
    report = prepared(sdf(tmp_path / "in.sdf", records), tmp_path / "store")
    bags, _ = load_store(tmp_path / "store")
    assert report["conformers"].tolist() == [3, 1] and report["duplicate_of"].tolist() == ["", "acid"]
    xyz, edges = np.load(tmp_path / "store" / "coordinates.npy"), np.load(tmp_path / "store" / "coordinate_offsets.npy")
    for i in range(3):
        np.testing.assert_allclose(xyz[edges[i] : edges[i + 1]], acid.heavy[i], atol=2e-4)
    np.testing.assert_allclose(bags.xinst[3], bags.xinst[0], rtol=1e-3, atol=1e-3)
    assert bags.raw.y[0, :3].tolist() == [1, 0, 0] and np.isnan(bags.raw.y[1]).all() and np.isnan(bags.raw.y[0, 3])


def test_an_sdf_without_hydrogens_or_with_charges_gets_its_hydrogens(tmp_path: Path, acid: Conformers) -> None:
    bare = Chem.RemoveHs(acid.mol)
    charged = Chem.RWMol(bare)
    for atom in charged.GetAtoms():
        if atom.GetSymbol() == "O" and atom.GetTotalNumHs():
            atom.SetFormalCharge(-1)
    Chem.SanitizeMol(charged)
    report = prepared(sdf(tmp_path / "in.sdf", [("bare", bare, 0, {}), ("charged", charged, 0, {})]), tmp_path / "store")
    assert report["conformers"].tolist() == [1, 1] and "neutralised" in report["reason"][2]
    assert report["smiles"].nunique() == 1
    xyz = np.load(tmp_path / "store" / "coordinates.npy").reshape(2, -1, 3)
    np.testing.assert_allclose(xyz[0], xyz[1], atol=2e-4)


def test_hydrogens_of_an_sdf_keep_their_places(tmp_path: Path) -> None:
    conformers = embed(standardise("CO"), ConformerConfig(n=1))
    mol = conformers.mol
    rdMolTransforms.SetDihedralDeg(mol.GetConformer(), 2, 0, 1, 5, 17.0)
    moved = mol.GetConformer().GetPositions()
    prepared(sdf(tmp_path / "in.sdf", [("a", mol, 0, {})]), tmp_path / "store", sets_3d=("autocorr3d",))
    whole = Conformers(mol, moved[None], np.zeros(1))
    from milbench.chem.descriptors import features_3d, sets_3d

    expected = features_3d(whole, sets_3d("autocorr3d"))
    np.testing.assert_allclose(load_store(tmp_path / "store")[0].xinst, expected, atol=2e-3)


def test_records_that_make_no_bag_say_why(tmp_path: Path, acid: Conformers) -> None:
    flat = Chem.MolFromSmiles("CCO")
    other = embed(standardise("CCO"), ConformerConfig(n=1)).mol
    records = [("flat", flat, -1, {}), ("mixed", acid.mol, 0, {}), ("mixed", other, 0, {}), ("good", other, 0, {})]
    path = sdf(tmp_path / "in.sdf", records)
    path.write_text(path.read_text() + "broken\n\n\n  1  0\nM  END\n$$$$\n")
    report = prepared(path, tmp_path / "store")
    assert report["reason"].tolist() == ["no_conformer", "unparsable", "", "unparsable"]
    assert "no 3D coordinates" in report["detail"][1] and "different molecules" in report["detail"][2]
    assert "1 of its 1 records cannot be read" in report["detail"][4]


def test_a_file_that_is_no_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"nonsense")
    (tmp_path / "in.csv").write_text("ID,SMILES\n1,CCO\n2,CC,3\n")
    (tmp_path / "in.smi").write_bytes(b"CCO \xff\xfe\n")
    for suffix in ("parquet", "csv", "smi"):
        with pytest.raises(DataError, match="cannot be read as") as caught:
            list(read_rows(config(tmp_path / f"in.{suffix}", tmp_path / "x"), EUOS25))
        assert "\n" not in str(caught.value)
