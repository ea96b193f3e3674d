"""A molecule's bag of conformers: the same for everyone, none twice."""

import numpy as np
import pytest

from milbench.chem.conformers import ConformerConfig, embed, molecule_seed
from milbench.chem.molecules import standardise
from milbench.errors import ConfigError

FLEXIBLE = "CCOc1ccc(NC(C)=O)cc1"


def test_the_same_molecule_gives_the_same_coordinates_however_it_is_written() -> None:
    cfg = ConformerConfig(n=3, prune_rms=0)
    embed(standardise("CCCCO"), cfg)
    one = embed(standardise(FLEXIBLE), cfg)
    other = embed(standardise("C(C)Oc1ccc(cc1)NC(=O)C.[Na+].[Cl-]"), cfg)
    np.testing.assert_array_equal(one.coordinates, other.coordinates)


def test_another_seed_gives_other_coordinates() -> None:
    molecule = standardise(FLEXIBLE)
    one, other = (embed(molecule, ConformerConfig(n=1, seed=seed)) for seed in (0, 1))
    assert not np.allclose(one.coordinates, other.coordinates)
    assert 0 <= molecule_seed(molecule.inchikey) < 2**31


def test_more_conformers_extend_the_same_bag() -> None:
    molecule = standardise(FLEXIBLE)
    few, many = (embed(molecule, ConformerConfig(n=n, prune_rms=0)) for n in (2, 5))
    np.testing.assert_array_equal(few.coordinates, many.coordinates[:2])


def test_a_rigid_molecule_keeps_one_conformer() -> None:
    assert len(embed(standardise("c1ccc2ccccc2c1"), ConformerConfig(n=6, prune_rms=0.2))) == 1
    assert len(embed(standardise("c1ccc2ccccc2c1"), ConformerConfig(n=6, prune_rms=0))) == 6


def test_heavy_atoms_come_in_the_order_of_the_smiles() -> None:
    molecule = standardise(FLEXIBLE)
    conformers = embed(molecule, ConformerConfig(n=2))
    assert conformers.heavy.shape == (len(conformers), molecule.mol.GetNumAtoms(), 3)
    bond = molecule.mol.GetBondWithIdx(0)
    length = np.linalg.norm(conformers.heavy[:, bond.GetBeginAtomIdx()] - conformers.heavy[:, bond.GetEndAtomIdx()], axis=1)
    assert ((length > 1.1) & (length < 1.7)).all()


def test_optimisation_gives_energies_and_none_gives_nan() -> None:
    molecule = standardise("CCCO")
    assert np.isnan(embed(molecule, ConformerConfig(n=2)).energies).all()
    assert np.isfinite(embed(molecule, ConformerConfig(n=2, mmff_iterations=50)).energies).all()


def test_a_molecule_that_cannot_be_embedded_says_so() -> None:
    impossible = embed(
        standardise("C[C@@]12C[C@]1(C)C2"), ConformerConfig(n=2, max_attempts=2)
    )  # a cage with one corner inside out
    assert len(impossible) == 0 and impossible.coordinates.shape[0] == 0
    assert "no geometry" in impossible.failure


def test_a_bag_of_none_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ConformerConfig(n=0)
