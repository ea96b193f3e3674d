"""A first look says what stands in a file or a store, and reads it as the preparation does."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from builders import store_from_tables
from milbench import figures
from milbench.chem.look import PARSED, look_at
from milbench.errors import DataError
from milbench.tasks import EUOS25
from milbench.testing import make_tables

T340, _, F340, _ = EUOS25.names


def test_a_table_shows_the_endpoints_that_it_has_and_says_which_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        f"ID,smiles,{T340},{F340},split\n007,CC,1,\n8,CCO,0,1,leaderboard\n\n".replace("1,\n", "1,,train\n")
    )
    look = look_at(tmp_path / "a.csv", EUOS25)
    assert look.molecules["ID"].tolist() == ["007", "8"]
    assert look.names == (T340, F340)
    np.testing.assert_array_equal(look.y, [[1, np.nan], [0, 1]])
    assert look.molecules["split"].tolist() == ["train", "leaderboard"]
    assert look.sizes is None
    assert any("no column for Transmittance_450" in note for note in look.notes)
    table = look.prevalences().set_index("endpoint")
    assert table.loc[F340].to_dict() == {"positives": 1, "negatives": 0, "missing": 1, "prevalence": 1.0}
    assert look.patterns() == [((False, True), 1)]  # the molecule with a missing label makes none


def test_smiles_that_give_no_molecule_are_said_at_once(tmp_path: Path) -> None:
    lines = [f"M{i},{'C' * (i % 9 + 1)},0" for i in range(PARSED + 5)]
    lines[7], lines[9], lines[-1] = "M7,C1CC,0", "M9,CC(C)(C)(C)C,0", "last,never tried,0"
    (tmp_path / "a.csv").write_text("\n".join([f"ID,smiles,{T340}", *lines]))
    said = "2 SMILES of the first 1,000 give no molecule and will be left out, first that of M7 (not a SMILES string)"
    assert said in look_at(tmp_path / "a.csv", EUOS25).notes
    (tmp_path / "b.csv").write_text(f"ID,smiles,{T340}\na,CC,0\nb,C1CC,1\n")
    assert any(note.startswith("1 SMILES of 2 give no molecule") for note in look_at(tmp_path / "b.csv", EUOS25).notes)
    (tmp_path / "c.csv").write_text(f"ID,smiles,{T340}\na,CC,0\n")
    assert not any("give no molecule" in note for note in look_at(tmp_path / "c.csv", EUOS25).notes)


def test_a_store_shows_its_molecules_and_bags(tmp_path: Path) -> None:
    tables = make_tables(tmp_path / "tables", n_molecules=30)
    store_from_tables(tmp_path / "store", tables.labels, tables.feat2d, [tables.feat3d])
    look = look_at(tmp_path / "store", EUOS25)
    assert len(look) == 30
    assert look.sizes is not None and look.sizes.sum() == look.molecules["conformers"].sum()
    assert look.y.shape == (30, 4)
    assert sum(count for _, count in look.patterns()) == (~np.isnan(look.y).any(axis=1)).sum()


def test_an_sdf_shows_structures_and_how_many_conformers_each_has(tmp_path: Path) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMultipleConfs(mol, 3, randomSeed=1)
    mol.SetProp("_Name", "ethanol")
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for conformer in mol.GetConformers():
            writer.write(mol, confId=conformer.GetId())
    look = look_at(tmp_path / "a.sdf", EUOS25)
    assert look.molecules[["ID", "smiles"]].to_numpy().tolist() == [["ethanol", "CCO"]]
    assert look.sizes is not None and look.sizes.tolist() == [3]


def test_what_is_wrong_in_a_file_is_said_with_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"ID,smiles,{T340}\na,CC,0\n\nb,CCC,7\n")
    with pytest.raises(DataError, match=f"a.csv, row 3, column {T340}: got 7.0, want 0, 1 or empty"):
        look_at(tmp_path / "a.csv", EUOS25)
    (tmp_path / "empty.smi").write_text("")
    with pytest.raises(DataError, match="has no rows"):
        look_at(tmp_path / "empty.smi", EUOS25)


def test_an_endpoint_has_the_colour_of_its_place_in_the_task_set_however_few_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"ID,smiles,{F340}\na,CC,1\nb,CCC,0\n")
    look = look_at(tmp_path / "a.csv", EUOS25)
    shares = figures.label_shares(look.prevalences(), look.tasks)
    positive = next(trace for trace in shares.data if trace.name == "positives")
    assert (list(positive.x), positive.marker.color) == ([50.0], ("#009E73",))  # the third of EUOS25
    patterns = figures.label_patterns(look.names, look.patterns(), look.tasks)
    assert sorted(patterns.data[0].y) == [1, 1]


def test_many_patterns_are_cut_and_the_rest_is_counted() -> None:
    patterns = [(tuple(bool(i >> t & 1) for t in range(5)), 100 - i) for i in range(20)]
    names = tuple(f"task {t}" for t in range(5))
    fig = figures.label_patterns(names, patterns, names, most=16)
    assert len(fig.data[0].x) == 16
    assert fig.layout.title.text == f"{sum(100 - i for i in range(16, 20))} molecules have rarer patterns"


def test_bags_are_counted_by_size() -> None:
    bars = figures.bag_sizes(np.array([1, 3, 3, 0]))
    assert dict(zip(bars.data[0].x, bars.data[0].y)) == {0: 1, 1: 1, 3: 2}
