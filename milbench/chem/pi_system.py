"""Which atoms of a molecule give a p orbital, how many electrons, and which way the orbitals point."""

from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from milbench.chem import van_catledge
from milbench.errors import DataError

_VALENCE = {"B": 3, "C": 4, "Si": 4, "N": 5, "P": 5, "O": 6, "S": 6, "F": 7, "Cl": 7, "Br": 7}
_MULTIPLE = (Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)


@dataclass(frozen=True)
class PiSystem:
    """The p orbitals of a molecule: P orbitals, E couplings between orbitals of bonded atoms, S separate systems.

    atoms [P], slot [P] (0, and 1 for the second orbital of a linear atom), h [P] and electrons [P]; pairs [E, 2] are orbital
    positions, k [E], bond [E] the RDKit bond, acyclic [E]; system [P] numbers the connected systems 0..S-1.
    """

    atoms: np.ndarray
    slot: np.ndarray
    h: np.ndarray
    electrons: np.ndarray
    pairs: np.ndarray
    k: np.ndarray
    bond: np.ndarray
    acyclic: np.ndarray
    system: np.ndarray

    @property
    def n_systems(self) -> int:
        return int(self.system.max(initial=-1)) + 1


def _multiple(bond: Chem.Bond) -> bool:
    return bond.GetIsAromatic() or bond.GetBondType() in _MULTIPLE


def _linear(atom: Chem.Atom) -> bool:
    """sp: carbon or nitrogen with a triple bond or two double bonds."""
    types = [bond.GetBondType() for bond in atom.GetBonds()]
    sp = Chem.BondType.TRIPLE in types or types.count(Chem.BondType.DOUBLE) == 2
    return sp and atom.GetSymbol() in "CN" and atom.GetTotalDegree() <= 2


def _n_orbitals(atom: Chem.Atom) -> int:
    """2 for a linear atom and for an atom at the end of one, else 1."""
    if _linear(atom):
        return 2
    if atom.GetTotalDegree() == 1:
        (other,) = atom.GetNeighbors()
        return 2 if _linear(other) or other.GetTotalDegree() == 1 else 1
    return 1


def _n_electrons(atom: Chem.Atom) -> int:
    """π electrons left when every σ hybrid (3 of sp2, 2 of sp) holds a bond or a lone pair."""
    hybrids = 4 - _n_orbitals(atom)
    left = _VALENCE[atom.GetSymbol()] - atom.GetFormalCharge() - 2 * hybrids + atom.GetTotalDegree()
    if atom.GetSymbol() == "C" and atom.GetTotalDegree() < hybrids and any(map(_multiple, atom.GetBonds())):
        left = max(left, 1)  # an aryl radical or carbene keeps its unpaired electron in the σ plane
    return left


def _candidate(atom: Chem.Atom) -> bool:
    symbol, degree = atom.GetSymbol(), atom.GetTotalDegree()
    if van_catledge.kind_of(symbol, degree) is None or not 1 <= degree <= 3 or (symbol in "OS" and degree > 2):
        return False
    return 0 <= _n_electrons(atom) <= 2 * _n_orbitals(atom)


def _pi_atoms(mol: Chem.Mol) -> dict[int, int]:
    """Atom → number of p orbitals: multiply bonded atoms, and neighbours of these that have a lone pair or an empty orbital."""
    able = {atom.GetIdx() for atom in mol.GetAtoms() if _candidate(atom)}
    core = set()
    for bond in mol.GetBonds():
        ends = {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        if _multiple(bond) and ends <= able:
            core |= ends
    chosen = set(core)
    for index in core:
        chosen |= {other.GetIdx() for other in mol.GetAtomWithIdx(index).GetNeighbors()} & able
    return {index: _n_orbitals(mol.GetAtomWithIdx(index)) for index in sorted(chosen)}


def pi_system(mol: Chem.Mol) -> PiSystem:
    """Find the p orbitals of a molecule; one without any gives empty arrays.

    Multiply bonded atoms take part, with neighbours that bring a lone pair (amine, ether, halide), an empty or a singly
    occupied orbital; hypervalent sulfur and phosphorus interrupt conjugation. Linear atoms give two orbitals.
    """
    orbitals = [(atom, slot) for atom, n in _pi_atoms(mol).items() for slot in range(n)]
    position = {orbital: p for p, orbital in enumerate(orbitals)}
    rows = [mol.GetAtomWithIdx(atom) for atom, _ in orbitals]
    kinds = [str(van_catledge.kind_of(atom.GetSymbol(), atom.GetTotalDegree())) for atom in rows]
    pairs, bonds = [], []
    for bond in mol.GetBonds():
        for p in (position.get((bond.GetBeginAtomIdx(), s)) for s in (0, 1)):
            for q in (position.get((bond.GetEndAtomIdx(), s)) for s in (0, 1)):
                if p is not None and q is not None:
                    pairs.append((p, q))
                    bonds.append(bond)
    electrons = [_n_electrons(atom) / _n_orbitals(atom) for atom in rows]
    return PiSystem(
        atoms=np.array([atom for atom, _ in orbitals], dtype=np.int64),
        slot=np.array([slot for _, slot in orbitals], dtype=np.int64),
        h=np.array([van_catledge.h(kind) for kind in kinds]),
        electrons=np.array(electrons),
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        k=np.array([van_catledge.k(kinds[p], kinds[q]) for p, q in pairs]),
        bond=np.array([bond.GetIdx() for bond in bonds], dtype=np.int64),
        acyclic=np.array([not bond.IsInRing() for bond in bonds], dtype=bool),
        system=_components(len(orbitals), pairs, [atom for atom, _ in orbitals]),
    )


def _components(n: int, pairs: list[tuple[int, int]], atoms: list[int]) -> np.ndarray:
    """Number the connected systems [n]; the two orbitals of one atom belong together."""
    label = np.arange(n)
    same_atom = [(p, p + 1) for p in range(n - 1) if atoms[p] == atoms[p + 1]]
    for p, q in [*pairs, *same_atom]:
        label[label == label[q]] = label[p]
    return np.unique(label, return_inverse=True)[1].astype(np.int64) if n else np.zeros(0, dtype=np.int64)


def axes(mol: Chem.Mol, pi: PiSystem, coordinates: np.ndarray) -> np.ndarray:
    """Unit vectors along the p orbitals, [N, P, 3], for coordinates [N, atoms, 3] in Å with every hydrogen.

    An orbital stands on the plane of its atom's three partners (two partners: of the atom and these); an atom with one
    partner has that one's axis; the two orbitals of a linear atom stand on its bond. Signs are arbitrary.
    """
    if any(atom.GetTotalNumHs() for atom in mol.GetAtoms()) or coordinates.shape[1] != mol.GetNumAtoms():
        raise DataError("huckel", "every atom needs coordinates, hydrogens too", do="add hydrogens before embedding")
    out = np.zeros((len(coordinates), len(pi.atoms), 3))
    for p, (index, slot) in enumerate(zip(pi.atoms.tolist(), pi.slot.tolist())):
        out[:, p] = _axis(mol.GetAtomWithIdx(index), slot, coordinates)
    return out


def _axis(atom: Chem.Atom, slot: int, coordinates: np.ndarray) -> np.ndarray:
    partners = [other.GetIdx() for other in atom.GetNeighbors()]
    if _n_orbitals(atom) == 2:
        along = coordinates[:, partners[-1]] - coordinates[:, atom.GetIdx() if len(partners) == 1 else partners[0]]
        return _perpendicular(along)[:, slot]
    if len(partners) == 1:
        return _axis(atom.GetNeighbors()[0], 0, coordinates)
    a, b, c = partners if len(partners) == 3 else (atom.GetIdx(), *partners)
    return _unit(np.cross(coordinates[:, b] - coordinates[:, a], coordinates[:, c] - coordinates[:, a]))


def _perpendicular(along: np.ndarray) -> np.ndarray:
    """Two orthogonal unit vectors [N, 2, 3] that stand on `along` [N, 3]."""
    helper = np.eye(3)[np.abs(along).argmin(axis=1)]
    first = _unit(np.cross(along, helper))
    return np.stack([first, _unit(np.cross(along, first))], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
