"""The positive control: real molecules, a plate that was only computed, and a key conformer that is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from milbench.chem.huckel import Levels
from milbench.data.demo import ABOUT, DemoTables, make_demo, read_plate, transition_energy, write_demo
from milbench.errors import ConfigError
from milbench.files import read_array, read_json
from milbench.tasks import EUOS25

N = 16


@pytest.fixture(scope="module")
def demo() -> DemoTables:
    return make_demo(N, workers=1)


def test_two_processes_give_the_bytes_of_one(demo: DemoTables) -> None:
    again = make_demo(N, workers=2)
    for field in dataclasses.fields(DemoTables):
        one, other = getattr(demo, field.name), getattr(again, field.name)
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        else:
            np.testing.assert_array_equal(one, other)


def test_every_molecule_has_three_to_eight_conformers_in_every_table(demo: DemoTables) -> None:
    sizes = demo.conformers.groupby("ID", sort=False).size()
    assert sizes.between(3, 8).all() and list(sizes.index) == list(demo.labels.ID) == list(demo.feat2d.ID)
    for table in (demo.feat3d, demo.feat3d_qm):
        pd.testing.assert_frame_equal(table[["ID", "conf_id"]], demo.conformers[["ID", "conf_id"]])


def test_the_key_is_the_brightest_conformer_of_a_positive_molecule_and_of_no_other(demo: DemoTables) -> None:
    for name in EUOS25.names:
        bags = demo.conformers.groupby("ID", sort=False)
        keys = bags[f"key_{name}"].sum().to_numpy()
        np.testing.assert_array_equal(keys, demo.labels[name])
        top = demo.conformers.loc[bags[f"reading_{name}"].idxmax()]
        assert (top[f"key_{name}"].to_numpy() == (keys == 1)).all()


def test_the_model_sees_the_truth_through_noise_only(demo: DemoTables) -> None:
    off = demo.feat3d_qm["huckel_gap"].to_numpy() - demo.conformers["huckel_gap_true"].to_numpy()
    assert 0.005 < off.std() < 0.02 and (off != 0).all()
    seen = {*demo.feat2d.columns, *demo.feat3d.columns, *demo.feat3d_qm.columns}
    assert not any(column.startswith(("key_", "reading_")) or column.endswith("_true") for column in seen)


def test_features_are_finite_and_ipc_is_left_out(demo: DemoTables) -> None:
    for table in (demo.feat2d, demo.feat3d, demo.feat3d_qm):
        assert np.isfinite(table.select_dtypes("number").to_numpy()).all()
    assert "Ipc" not in demo.feat2d and "conj_planar_gap" in demo.feat2d


def test_coordinates_follow_the_stored_smiles(demo: DemoTables) -> None:
    atoms = {row.ID: Chem.MolFromSmiles(row.smiles).GetNumAtoms() for row in demo.labels.itertuples()}
    np.testing.assert_array_equal(np.diff(demo.coordinate_offsets), [atoms[name] for name in demo.conformers.ID])
    assert demo.coordinates.shape == (demo.coordinate_offsets[-1], 3) and demo.coordinates.dtype == np.float32
    mol = Chem.MolFromSmiles(demo.labels.smiles[0])
    first = demo.coordinates[: mol.GetNumAtoms()]
    for bond in mol.GetBonds():
        assert 1.0 < np.linalg.norm(first[bond.GetBeginAtomIdx()] - first[bond.GetEndAtomIdx()]) < 2.4


def test_the_rarest_endpoint_has_positives_on_both_sides(demo: DemoTables) -> None:
    rarest = demo.labels.groupby("split")["Fluorescence_more_than_480"].sum()
    assert rarest["train"] >= 1 and rarest["leaderboard"] >= 1


def test_auxiliaries_are_sometimes_missing_and_weights_stand_around_one(demo: DemoTables) -> None:
    aux = demo.labels[[target.column for target in (*EUOS25.aux_abs, *EUOS25.aux_fluo)]]
    assert 0 < aux.isna().to_numpy().mean() < 0.6
    assert demo.labels[["sample_weight_340", "sample_weight_450", "w_ad"]].mean().between(0.8, 1.2).all()


def test_the_plate_reader_sees_more_light_in_a_flatter_stronger_chromophore() -> None:
    flat, turned = (Levels(*(np.array([x]) for x in (-0.5, 0.5, 0.98, 0.1, f, p))) for f, p in ((3.0, 0.9), (1.5, 0.5)))
    assert (read_plate(flat) > read_plate(turned)).all()


def test_the_energy_scale_reproduces_the_acenes() -> None:
    gaps, nm = np.array([2.0, 1.236, 0.828, 0.590]), np.array([207, 286, 375, 471])
    np.testing.assert_allclose(transition_energy(gaps), 1239.84 / nm, atol=0.12)


def test_the_written_demo_says_that_it_is_simulated(demo: DemoTables, tmp_path: Path) -> None:
    folder = write_demo(demo, tmp_path / "demo")
    assert "SIMULATED" in read_json(folder / "about.json")["about"] == ABOUT
    np.testing.assert_array_equal(read_array(folder / "coordinates.npy"), demo.coordinates)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "feat3d_qm.parquet"), demo.feat3d_qm)


def test_too_few_molecules_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="at least 10"):
        make_demo(3)
