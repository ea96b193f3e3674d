"""Named feature sets: the width they promise, and the invariances that a chemist expects."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from scipy.spatial.transform import Rotation

from milbench.chem.conformers import ConformerConfig, Conformers, embed, with_coordinates
from milbench.chem.conjugation import COLUMNS, conjugation, turning_swing
from milbench.chem.descriptors import (
    SETS_2D,
    SETS_3D,
    columns_of,
    features_2d,
    features_3d,
    plane_of_best_fit,
    sets_2d,
    sets_3d,
)
from milbench.chem.molecules import standardise
from milbench.errors import ConfigError

DYE = "CN(C)c1ccc(N=Nc2ccc([N+](=O)[O-])cc2)cc1"


@pytest.fixture(scope="module")
def dye() -> Conformers:
    return embed(standardise(DYE), ConformerConfig(n=3, prune_rms=0, mmff_iterations=20))


def read(smiles: str) -> dict[str, float]:
    return dict(zip(COLUMNS, conjugation(Chem.MolFromSmiles(smiles)).tolist()))


def test_every_2d_set_gives_a_finite_column_for_every_name() -> None:
    chosen = sets_2d(*SETS_2D)
    row = features_2d(Chem.MolFromSmiles(DYE), chosen)
    assert row.shape == (len(columns_of(chosen)),) and row.dtype == np.float32 and np.isfinite(row).all()
    assert len(set(columns_of(chosen))) == len(columns_of(chosen))


def test_every_3d_set_gives_a_finite_column_for_every_name(dye: Conformers) -> None:
    chosen = sets_3d(*SETS_3D)
    rows = features_3d(dye, chosen)
    assert rows.shape == (3, len(columns_of(chosen))) and rows.dtype == np.float32 and np.isfinite(rows).all()
    assert len(set(columns_of(chosen))) == len(columns_of(chosen))


@pytest.mark.parametrize("name", ["usr", "usrcat", "shape", "autocorr3d", "rdf", "huckel"])
def test_a_conformer_is_described_alike_in_any_orientation(dye: Conformers, name: str) -> None:
    moved = Rotation.from_euler("xyz", [1.0, 2.0, 0.5]).apply(dye.coordinates.reshape(-1, 3)).reshape(dye.coordinates.shape) + 5
    turned = Conformers(with_coordinates(dye.mol, moved), moved, dye.energies)
    np.testing.assert_allclose(features_3d(turned, sets_3d(name)), features_3d(dye, sets_3d(name)), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", sorted(set(SETS_3D) - {"energy"}))  # an energy is above the lowest of its bag
def test_a_conformer_is_described_in_its_bag_as_it_is_alone(dye: Conformers, name: str) -> None:
    bag = features_3d(dye, sets_3d(name))
    for i in range(len(dye)):
        one = dye.coordinates[[i]]
        alone = Conformers(with_coordinates(dye.mol, one), one, dye.energies[[i]])
        np.testing.assert_allclose(features_3d(alone, sets_3d(name))[0], bag[i], rtol=1e-5, atol=1e-5)


def test_the_plane_of_best_fit_is_that_of_rdkit_for_a_conformer_alone(dye: Conformers) -> None:
    alone = with_coordinates(dye.mol, dye.coordinates[[2]])
    alone.ClearComputedProps()
    assert plane_of_best_fit(dye.coordinates)[2] == pytest.approx(rdMolDescriptors.CalcPBF(alone), abs=1e-6)
    assert plane_of_best_fit(np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 4, 0]]], dtype=float))[0] == pytest.approx(0)


def test_different_conformers_have_different_shapes(dye: Conformers) -> None:
    assert np.ptp(features_3d(dye, sets_3d("usr")), axis=0).max() > 1e-3


def test_morgan_counts_take_a_size_and_a_radius() -> None:
    (chosen,) = sets_2d("morgan:64:3")
    row = features_2d(Chem.MolFromSmiles("CCCCCC"), [chosen])
    assert row.shape == (64,) and row.max() > 1


def test_atom_pairs_and_torsions_are_counted_once_each_whatever_the_size() -> None:
    hexane = Chem.MolFromSmiles("CCCCCC")
    for size in (16, 4096):
        pairs, torsions = (features_2d(hexane, sets_2d(f"{name}:{size}")) for name in ("atompair", "torsion"))
        assert len(pairs) == len(torsions) == size
        assert (pairs.sum(), torsions.sum()) == (6 * 5 / 2, 3)


@pytest.mark.parametrize("name", ["morgan:0:2", "atompair:0"])
def test_counts_of_no_size_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*size of 1"):
        sets_2d(name)


def test_extended_huckel_puts_the_frontier_orbitals_of_benzene_where_it_should() -> None:
    benzene = embed(standardise("c1ccccc1"), ConformerConfig(n=1))
    homo, lumo, gap = features_3d(benzene, sets_3d("eht"))[0]
    assert homo == pytest.approx(-12.8, abs=0.1) and lumo == pytest.approx(-8.3, abs=0.2) and gap == pytest.approx(lumo - homo)


def test_an_unknown_set_is_a_config_error_that_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match="usrcat"):
        sets_3d("usrcatt")


def test_the_conjugation_set_reads_an_azo_dye_as_a_chemist_does() -> None:
    found = read(DYE)
    assert (found["conj_atoms"], found["conj_systems"], found["conj_aromatic_systems"]) == (18, 1, 2)
    assert found["conj_donors"] == 2 and found["conj_longest_path"] == 12
    assert found["conj_turning_bonds"] == 4


def test_fused_rings_are_one_system() -> None:
    found = read("c1ccc2cc3ccccc3cc2c1CCc1ccccc1")
    assert (found["conj_aromatic_rings"], found["conj_aromatic_systems"], found["conj_largest_aromatic_system"]) == (4, 2, 3)


def test_an_alkane_has_no_conjugation_and_a_defined_gap() -> None:
    found = read("CCCC")
    assert found["conj_atoms"] == found["conj_longest_path"] == found["conj_donor_acceptor_pairs"] == 0
    assert found["conj_planar_gap"] == 6


def test_only_a_molecule_that_can_turn_has_a_swing() -> None:
    assert turning_swing(Chem.MolFromSmiles("c1ccc2ccccc2c1")) == 0
    assert turning_swing(Chem.MolFromSmiles("c1ccccc1-c1ccccc1")) == pytest.approx(2 - 2 * 0.7046, abs=1e-3)
