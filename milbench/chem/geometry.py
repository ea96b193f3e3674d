"""Conformers to look at and to take along: atoms and bonds, laid on top of each other, as SDF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolAlign

from milbench.chem.conformers import with_coordinates
from milbench.errors import DataError


@dataclass(frozen=True)
class Skeleton:
    """The heavy atoms of a molecule in the order of its SMILES: element symbols, and bonds as (i, j, order)."""

    elements: tuple[str, ...]
    bonds: tuple[tuple[int, int, float], ...]


def skeleton(smiles: str) -> Skeleton:
    """Atoms and bonds of a SMILES."""
    mol = _molecule(smiles)
    bonds = ((b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondTypeAsDouble()) for b in mol.GetBonds())
    return Skeleton(tuple(atom.GetSymbol() for atom in mol.GetAtoms()), tuple(bonds))


def aligned(smiles: str, positions: np.ndarray, reference: int = 0) -> np.ndarray:
    """Conformers [N, atoms, 3] in Å laid onto the one at `reference`, all heavy atoms at their best fit, its centre at zero."""
    order = [reference, *(i for i in range(len(positions)) if i != reference)]
    mol = with_coordinates(_molecule(smiles, positions), positions[order])
    rdMolAlign.AlignMolConformers(mol)
    placed = np.empty_like(positions, dtype=np.float64)
    placed[order] = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return placed - placed[reference].mean(axis=0)


def most_attended(smiles: str, positions: np.ndarray, weight: np.ndarray, most: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """All conformers laid onto the one with the largest weight [N], and the places of the `most` largest, the largest first."""
    top = np.argsort(-weight, kind="stable")[:most]
    return aligned(smiles, positions, int(top[0])), top


def sdf_text(smiles: str, positions: np.ndarray, names: Sequence[str], properties: Mapping[str, Sequence[object]]) -> str:
    """Conformers [N, atoms, 3] as SDF records with these names [N] and properties [N each]."""
    mol = with_coordinates(_molecule(smiles, positions), positions)
    records = []
    for i, name in enumerate(names):
        mol.SetProp("_Name", name)
        tags = "".join(f">  <{key}>\n{values[i]}\n\n" for key, values in properties.items())
        records.append(f"{Chem.MolToMolBlock(mol, confId=i)}{tags}$$$$\n")
    return "".join(records)


def _molecule(smiles: str, positions: np.ndarray | None = None) -> Chem.Mol:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise DataError("SMILES", got=smiles, want="one that RDKit can read")
    if positions is not None and positions.shape[1] != mol.GetNumAtoms():
        atoms = f"{positions.shape[1]} atoms have coordinates, the SMILES has {mol.GetNumAtoms()}"
        raise DataError("store", atoms, got=smiles, do="prepare it again")
    return mol
