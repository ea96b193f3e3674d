"""The Hückel model against systems whose levels are known from first principles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdDepictor
from scipy.spatial.transform import Rotation

from milbench.chem.conformers import ConformerConfig, embed
from milbench.chem.huckel import COLUMNS, NO_PI, gaps_of, hamiltonian, huckel, planar_cosines, planar_huckel
from milbench.chem.molecules import standardise
from milbench.chem.pi_system import pi_system
from milbench.errors import DataError

TWISTED = [
    "CC(=O)Nc1ccccc1OC",
    "CN(C)c1ccc(N=Nc2ccc([N+](=O)[O-])cc2)cc1",
    "N#Cc1ccc(-c2ccccc2C)cc1",
    "C(#Cc1ccccc1C)c1ccccc1",
    "[N-]=[N+]=Nc1ccccc1Sc1ccccc1",
    "CS(=O)(=O)c1ccc(NN=Cc2ccco2)cc1",
    "C=C=CCc1ccccc1",
]


def planar_levels(smiles: str) -> np.ndarray:
    pi = pi_system(Chem.MolFromSmiles(smiles))
    return np.linalg.eigvalsh(hamiltonian(pi, planar_cosines(pi)[None])[0])


def levels_of(bonds: list[tuple[int, int, float]], h: dict[int, float], n: int) -> np.ndarray:
    """An independent Hückel matrix, written bond by bond."""
    matrix = np.zeros((n, n))
    for atom, value in h.items():
        matrix[atom, atom] = -value
    for a, b, k in bonds:
        matrix[a, b] = matrix[b, a] = -k
    return np.sort(np.linalg.eigvals(matrix).real)


def ring(start: int) -> list[tuple[int, int, float]]:
    return [(start + i, start + (i + 1) % 6, 1.0) for i in range(6)]


def flat_biphenyl(degrees: float) -> tuple[Chem.Mol, np.ndarray]:
    """Biphenyl drawn flat, then one ring turned about the bond between the rings."""
    mol = Chem.AddHs(Chem.MolFromSmiles("c1ccccc1-c1ccccc1"))
    rdDepictor.Compute2DCoords(mol)
    xyz = mol.GetConformer().GetPositions()
    (bond,) = [
        b for b in mol.GetBonds() if not b.IsInRing() and b.GetBeginAtom().GetIsAromatic() and b.GetEndAtom().GetIsAromatic()
    ]
    a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    axis = (xyz[b] - xyz[a]) / np.linalg.norm(xyz[b] - xyz[a])
    beyond = (xyz - xyz[a]) @ axis > 0.75
    xyz[beyond] = Rotation.from_rotvec(np.radians(degrees) * axis).apply(xyz[beyond] - xyz[a]) + xyz[a]
    return mol, xyz[None]


@pytest.fixture(scope="module")
def twisted() -> list:
    return [embed(standardise(smiles), ConformerConfig(n=2, prune_rms=0)) for smiles in TWISTED]


def test_ethylene_has_a_gap_of_two_beta() -> None:
    np.testing.assert_allclose(planar_levels("C=C"), [-1, 1], atol=1e-12)
    assert planar_huckel(Chem.MolFromSmiles("C=C")).gap[0] == pytest.approx(2)


def test_butadiene_has_the_golden_levels() -> None:
    golden = (1 + 5**0.5) / 2
    np.testing.assert_allclose(planar_levels("C=CC=C"), [-golden, 1 - golden, golden - 1, golden], atol=1e-12)


def test_benzene_has_levels_one_twice_and_two() -> None:
    np.testing.assert_allclose(planar_levels("c1ccccc1"), [-2, -1, -1, 1, 1, 2], atol=1e-12)


def test_polyenes_and_annulenes_follow_their_closed_forms() -> None:
    for n in (2, 4, 6, 10):
        chain = -2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))
        np.testing.assert_allclose(planar_levels("C=C" * (n // 2)), chain, atol=1e-12)
    annulene = np.sort(-2 * np.cos(2 * np.pi * np.arange(8) / 8))
    np.testing.assert_allclose(planar_levels("C1=CC=CC=CC=C1"), annulene, atol=1e-12)


def test_biphenyl_at_right_angles_is_two_benzenes() -> None:
    mol, xyz = flat_biphenyl(90)
    found = huckel(mol, xyz)
    assert found.homo[0] == pytest.approx(-1, abs=1e-9)
    assert found.lumo[0] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("degrees", [0, 30, 44, 70])
def test_biphenyl_follows_the_cosine_of_its_torsion(degrees: float) -> None:
    found = huckel(*flat_biphenyl(degrees))
    expected = levels_of([*ring(0), *ring(6), (0, 6, np.cos(np.radians(degrees)))], {}, 12)
    assert found.homo[0] == pytest.approx(expected[5], abs=1e-9)
    assert found.lumo[0] == pytest.approx(expected[6], abs=1e-9)


def test_flat_biphenyl_has_the_textbook_frontier_levels() -> None:
    found = huckel(*flat_biphenyl(0))
    assert (found.homo[0], found.lumo[0]) == (pytest.approx(-0.705, abs=5e-4), pytest.approx(0.705, abs=5e-4))
    assert found.planarity[0] == pytest.approx(1)


def test_azobenzene_agrees_with_a_matrix_written_by_hand() -> None:
    bonds = [*ring(0), *ring(8), (0, 6, 1.02), (6, 7, 1.09), (7, 8, 1.02)]
    np.testing.assert_allclose(planar_levels("c1ccccc1/N=N/c1ccccc1"), levels_of(bonds, {6: 0.51, 7: 0.51}, 14), atol=1e-12)


@pytest.mark.parametrize(
    ("smiles", "electrons"),
    [
        ("c1ccncc1", 6),
        ("c1cc[nH]c1", 6),
        ("c1ccoc1", 6),
        ("[cH+]1cccccc1", 6),
        ("[cH-]1cccc1", 6),
        ("O=[N+]([O-])c1ccccc1", 10),
        ("N#Cc1ccccc1", 10),
        ("CS(=O)(=O)c1ccccc1", 6),
        ("Nc1ccccc1", 8),
        ("CC(=O)[O-]", 4),
        ("CN=[N+]=[N-]", 6),
        ("C[n+]1ccccc1", 6),
        ("OB(O)c1ccccc1", 6),
        ("CCO", 0),
        ("[CH2]c1ccccc1", 7),
    ],
)
def test_electrons_are_counted_as_on_paper(smiles: str, electrons: int) -> None:
    assert pi_system(Chem.MolFromSmiles(smiles)).electrons.sum() == electrons


def test_the_two_oxygens_of_a_carboxylate_are_alike() -> None:
    pi = pi_system(Chem.MolFromSmiles("CC(=O)[O-]"))
    assert pi.h.tolist().count(0.97) == 2
    assert len(set(pi.k.tolist())) == 1


def test_a_molecule_without_pi_electrons_has_the_documented_levels() -> None:
    conformers = embed(standardise("CCO"), ConformerConfig(n=2, prune_rms=0))
    np.testing.assert_array_equal(huckel(conformers.mol, conformers.coordinates).table(), [NO_PI] * 2)
    np.testing.assert_array_equal(planar_huckel(conformers.mol).table(), [NO_PI])
    assert len(NO_PI) == len(COLUMNS)


def test_separate_chromophores_do_not_mix() -> None:
    far = planar_huckel(Chem.MolFromSmiles("C=CC=CCCc1ccccc1"))
    alone = planar_huckel(Chem.MolFromSmiles("C=CC=C"))
    assert (far.homo[0], far.lumo[0]) == (pytest.approx(alone.homo[0]), pytest.approx(alone.lumo[0]))


def test_the_two_double_bonds_of_allene_are_independent() -> None:
    conformers = embed(standardise("C=C=C"), ConformerConfig(n=1))
    assert huckel(conformers.mol, conformers.coordinates).gap[0] == pytest.approx(2, abs=0.01)


def test_degenerate_levels_give_one_oscillator_strength() -> None:
    strengths = []
    for order in ([0, 1, 2, 3, 4, 5], [3, 1, 5, 0, 4, 2]):
        mol = Chem.RenumberAtoms(Chem.MolFromSmiles("c1ccccc1"), order)
        strengths.append(planar_huckel(mol).oscillator[0])
    assert strengths[0] == pytest.approx(strengths[1], rel=1e-9)


def test_turning_a_bond_out_of_plane_widens_the_gap() -> None:
    pi = pi_system(Chem.MolFromSmiles("c1ccccc1-c1ccccc1"))
    cosine = np.where(pi.acyclic, np.cos(np.radians(np.arange(0, 91, 15)))[:, None], 1.0)
    assert (np.diff(gaps_of(pi, cosine)) > 0).all()


@settings(max_examples=15, deadline=None)
@given(which=st.integers(0, len(TWISTED) - 1), seed=st.integers(0, 2**31))
def test_the_levels_do_not_depend_on_where_the_molecule_lies(twisted: list, which: int, seed: int) -> None:
    conformers, rng = twisted[which], np.random.default_rng(seed)
    turn, shift = Rotation.random(rng=rng), rng.normal(size=3) * 20
    moved = turn.apply(conformers.coordinates.reshape(-1, 3)).reshape(conformers.coordinates.shape) + shift
    before, after = huckel(conformers.mol, conformers.coordinates), huckel(conformers.mol, moved)
    np.testing.assert_allclose(after.table(), before.table(), atol=1e-8)


@settings(max_examples=15, deadline=None)
@given(which=st.integers(0, len(TWISTED) - 1), seed=st.integers(0, 2**31))
def test_the_levels_do_not_depend_on_the_order_of_the_atoms(twisted: list, which: int, seed: int) -> None:
    conformers = twisted[which]
    order = np.random.default_rng(seed).permutation(conformers.mol.GetNumAtoms())
    shuffled = huckel(Chem.RenumberAtoms(conformers.mol, order.tolist()), conformers.coordinates[:, order])
    np.testing.assert_allclose(shuffled.table(), huckel(conformers.mol, conformers.coordinates).table(), atol=1e-8)
    flat = planar_huckel(Chem.RenumberAtoms(conformers.mol, order.tolist()))
    np.testing.assert_allclose(flat.table(), planar_huckel(conformers.mol).table(), atol=1e-5)


def test_a_flat_conformer_has_the_planar_levels() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CN(C)c1ccc(N=Nc2ccc([N+](=O)[O-])cc2)cc1"))
    rdDepictor.Compute2DCoords(mol)
    flat, planar = huckel(mol, mol.GetConformer().GetPositions()[None]), planar_huckel(mol)
    np.testing.assert_allclose(flat.table()[:, :4], planar.table()[:, :4], atol=1e-9)


def test_missing_hydrogens_are_named_not_guessed() -> None:
    mol = Chem.MolFromSmiles("C=C")
    with pytest.raises(DataError, match="add hydrogens"):
        huckel(mol, np.zeros((1, 2, 3)))
