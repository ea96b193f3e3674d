"""Conformers laid on top of each other, and as SDF."""

import numpy as np
import pytest
from rdkit import Chem

from milbench.chem.conformers import ConformerConfig, embed
from milbench.chem.geometry import aligned, sdf_text, skeleton
from milbench.chem.molecules import Molecule, standardise
from milbench.errors import DataError

SMILES = "CC(=O)Nc1ccc(O)cc1"


@pytest.fixture
def positions() -> np.ndarray:
    """Heavy atoms of a few real conformers [N, atoms, 3]."""
    molecule = standardise(SMILES)
    assert isinstance(molecule, Molecule) and molecule.smiles == SMILES
    return embed(molecule, ConformerConfig(n=4, prune_rms=0)).heavy


def test_turned_and_moved_a_conformer_comes_back_to_where_it_was(positions: np.ndarray):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = np.stack([positions[0], positions[0] @ turn.T + [5, -3, 2]])
    placed = aligned(SMILES, moved, reference=1)
    np.testing.assert_allclose(placed[0], placed[1], atol=1e-3)
    np.testing.assert_allclose(placed[1].mean(axis=0), 0, atol=1e-6)


def test_aligning_moves_conformers_and_never_bends_them(positions: np.ndarray):
    placed = aligned(SMILES, positions, reference=2)
    for before, after in zip(positions, placed):
        distances = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (before, after)]
        np.testing.assert_allclose(*distances, atol=1e-3)
    np.testing.assert_allclose(placed[2], positions[2] - positions[2].mean(axis=0), atol=1e-5)


def test_a_skeleton_is_the_molecule_in_the_order_of_its_smiles():
    bones = skeleton("CC=O")
    assert bones.elements == ("C", "C", "O") and bones.bonds == ((0, 1, 1.0), (1, 2, 2.0))


def test_the_sdf_reads_back_as_the_same_conformers_with_their_attention(positions: np.ndarray):
    attention = [0.5, 0.25, 0.125, 0.125][: len(positions)]
    text = sdf_text(SMILES, positions, [f"a {i}" for i in range(len(positions))], {"attn_x": attention, "pred_x": ["0.9"] * 4})
    supplier = Chem.SDMolSupplier()
    supplier.SetData(text)
    records = list(supplier)
    assert [float(r.GetProp("attn_x")) for r in records] == attention and records[1].GetProp("_Name") == "a 1"
    for record, position in zip(records, positions, strict=True):
        assert Chem.MolToSmiles(record) == SMILES
        np.testing.assert_allclose(record.GetConformer().GetPositions(), position, atol=1e-3)


def test_coordinates_of_another_molecule_are_refused(positions: np.ndarray):
    with pytest.raises(DataError, match="11 atoms have coordinates, the SMILES has 2"):
        aligned("CO", positions)
    with pytest.raises(DataError, match="want one that RDKit can read"):
        skeleton("C1CC")
