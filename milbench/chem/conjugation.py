"""The *conjugation* set: what a chemist reads off the drawing of a chromophore, and the planar Hückel levels."""

import numpy as np
from rdkit import Chem

from milbench.chem.huckel import gaps_of, planar_cosines, planar_huckel
from milbench.chem.pi_system import PiSystem, pi_system

COLUMNS = (
    "conj_atoms",
    "conj_bonds",
    "conj_fraction",
    "conj_systems",
    "conj_largest",
    "conj_longest_path",
    "conj_turning_bonds",
    "conj_donors",
    "conj_acceptors",
    "conj_donor_acceptor_pairs",
    "conj_donor_acceptor_distance",
    "conj_aromatic_rings",
    "conj_aromatic_systems",
    "conj_largest_aromatic_system",
    "conj_planar_homo",
    "conj_planar_lumo",
    "conj_planar_gap",
    "conj_planar_order_spread",
    "conj_planar_oscillator",
)


def conjugation(mol: Chem.Mol) -> np.ndarray:
    """Conjugation descriptors of a molecule, float64 [19], in the order of `COLUMNS`.

    Counts of π atoms and bonds, their fraction of the heavy atoms, separate systems and the atoms of the largest; the
    longest of the shortest conjugated paths, in bonds; bonds that can turn; donors (atoms that bring two electrons) and
    acceptors (N or O that brings one), pairs of these in one system and their largest distance in bonds; aromatic rings,
    fused systems of them, the rings in the largest; then the planar Hückel levels in |β| (oscillator in |β| Å²).
    """
    pi = pi_system(mol)
    atoms, first = np.unique(pi.atoms, return_index=True)
    system = pi.system[first]
    sizes = np.bincount(system) if len(atoms) else np.zeros(1, dtype=np.int64)
    paths = _paths(mol, atoms, pi)
    donors, acceptors = _donors(mol, pi, atoms, first)
    between = paths[np.ix_(donors, acceptors)]
    rings = _aromatic_systems(mol)
    counts = (
        len(atoms),
        len(np.unique(pi.bond)),
        len(atoms) / max(mol.GetNumHeavyAtoms(), 1),
        pi.n_systems,
        sizes.max(initial=0),
        paths.max(initial=0),
        len(turning_bonds(mol, pi)),
        donors.sum(),
        acceptors.sum(),
        (between > 0).sum(),
        between.max(initial=0),
        sum(rings),
        len(rings),
        max(rings, default=0),
    )
    return np.array([*counts, *planar_huckel(mol).table()[0, :5]], dtype=np.float64)


def turning_bonds(mol: Chem.Mol, pi: PiSystem) -> list[int]:
    """Acyclic single bonds inside a π system whose two atoms carry further heavy atoms: turning one changes the levels."""
    bonds = (mol.GetBondWithIdx(index) for index in np.unique(pi.bond).tolist())
    single = (bond for bond in bonds if bond.GetBondType() == Chem.BondType.SINGLE and not bond.IsInRing())
    return [bond.GetIdx() for bond in single if min(_heavy_degree(bond.GetBeginAtom()), _heavy_degree(bond.GetEndAtom())) > 1]


def turning_swing(mol: Chem.Mol) -> float:
    """How far turning one bond out of the plane moves the planar gap, in |β|: the largest over bonds, 0 when none can turn."""
    pi = pi_system(mol)
    bonds = turning_bonds(mol, pi)
    if not bonds:
        return 0.0
    planar = planar_cosines(pi)
    gaps = gaps_of(pi, np.stack([planar, *(np.where(pi.bond == bond, 0.0, planar) for bond in bonds)]))
    return float(np.abs(gaps - gaps[0]).max())


def _heavy_degree(atom: Chem.Atom) -> int:
    return sum(other.GetAtomicNum() > 1 for other in atom.GetNeighbors())


def _paths(mol: Chem.Mol, atoms: np.ndarray, pi: PiSystem) -> np.ndarray:
    """Lengths of the shortest paths along π bonds between π atoms, [A, A]; 0 where there is none."""
    position = {int(atom): i for i, atom in enumerate(atoms)}
    neighbours: list[list[int]] = [[] for _ in atoms]
    for index in np.unique(pi.bond).tolist():
        bond = mol.GetBondWithIdx(index)
        a, b = position[bond.GetBeginAtomIdx()], position[bond.GetEndAtomIdx()]
        neighbours[a].append(b)
        neighbours[b].append(a)
    out = np.zeros((len(atoms), len(atoms)), dtype=np.int64)
    for start in range(len(atoms)):
        edge, seen, length = [start], {start}, 0
        while edge:
            out[start, edge] = length
            edge = sorted({b for a in edge for b in neighbours[a]} - seen)
            seen |= set(edge)
            length += 1
    return out


def _donors(mol: Chem.Mol, pi: PiSystem, atoms: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks [A] of donors and acceptors."""
    hetero = np.array([mol.GetAtomWithIdx(int(atom)).GetAtomicNum() in (7, 8) for atom in atoms], dtype=bool)
    electrons = pi.electrons[first]
    return electrons == 2, hetero & (electrons == 1)


def _aromatic_systems(mol: Chem.Mol) -> list[int]:
    """The number of aromatic rings in each fused aromatic system."""
    rings = [set(ring) for ring in mol.GetRingInfo().BondRings() if all(mol.GetBondWithIdx(b).GetIsAromatic() for b in ring)]
    systems: list[tuple[set[int], int]] = []
    for ring in rings:
        fused = [system for system in systems if system[0] & ring]
        systems = [system for system in systems if not system[0] & ring]
        systems.append((ring.union(*(bonds for bonds, _ in fused)), 1 + sum(n for _, n in fused)))
    return [n for _, n in systems]
