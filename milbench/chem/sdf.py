"""Conformers that a user brings: .sdf records of one molecule → its standardised structure with these coordinates."""

import numpy as np
from rdkit import Chem, rdBase

from milbench.chem.conformers import ConformerConfig, Conformers, finish
from milbench.chem.molecules import Molecule, Rejected, standardise


def read_records(text: str, neutralise: bool) -> tuple[Molecule | Rejected, list[Chem.Mol]]:
    """The molecule of .sdf records, standardised, and the records; unusable ones are `Rejected`, never raised.

    All records must hold the same molecule. Hydrogens may be there or not.
    """
    with rdBase.BlockLogs():
        blocks = [block for block in text.split("$$$$\n") if block.strip()]
        records = [Chem.MolFromMolBlock(block, removeHs=False) for block in blocks]
        unreadable = sum(record is None for record in records)
        if unreadable or not records:
            return Rejected("", f"{unreadable} of its {len(records)} records cannot be read"), []
        written = [Chem.MolToSmiles(Chem.RemoveHs(record)) for record in records]
    if len(set(written)) > 1:
        return Rejected(
            written[0], f"its records are different molecules ({written[0]}, {min(set(written) - {written[0]})})"
        ), []
    found = standardise(written[0], neutralise)
    return found, records


def take_coordinates(molecule: Molecule, records: list[Chem.Mol], cfg: ConformerConfig) -> Conformers:
    """The records' coordinates as conformers of `molecule`; none, with the reason, when they are flat.

    Heavy atoms keep their places; hydrogens too where an atom has as many as in its record, else they are built.
    """
    if not all(record.GetNumConformers() and record.GetConformer().Is3D() for record in records):
        mol = Chem.AddHs(molecule.mol)
        return Conformers(mol, np.zeros((0, mol.GetNumAtoms(), 3)), np.zeros(0), "the records have no 3D coordinates")
    with rdBase.BlockLogs():
        mol = Chem.Mol(molecule.mol)
        matches = [_heavy_match(record, molecule.mol) for record in records]
        for record, match in zip(records, matches, strict=True):
            conformer = Chem.Conformer(mol.GetNumAtoms())
            conformer.SetPositions(np.ascontiguousarray(record.GetConformer().GetPositions()[list(match)]))
            mol.AddConformer(conformer, assignId=True)
        mol = Chem.AddHs(mol, addCoords=True)
        for i, (record, match) in enumerate(zip(records, matches, strict=True)):
            _keep_hydrogens(mol, i, record, match)
        return finish(mol, cfg)


def _heavy_match(record: Chem.Mol, mol: Chem.Mol) -> tuple[int, ...]:
    """For each atom of `mol` its place in the record."""
    return record.GetSubstructMatch(mol, useChirality=True) or record.GetSubstructMatch(mol)


def _keep_hydrogens(mol: Chem.Mol, i: int, record: Chem.Mol, match: tuple[int, ...]) -> None:
    """Give the built hydrogens of conformer i the record's places where an atom has as many in both."""
    there, here = record.GetConformer(), mol.GetConformer(i)
    for atom, place in enumerate(match):
        built, given = _hydrogens(mol, atom, len(match)), _hydrogens(record, place, 0)
        if len(built) == len(given):
            for a, b in zip(built, given, strict=True):
                here.SetAtomPosition(a, there.GetAtomPosition(b))


def _hydrogens(mol: Chem.Mol, atom: int, from_index: int) -> list[int]:
    neighbours = mol.GetAtomWithIdx(atom).GetNeighbors()
    return [n.GetIdx() for n in neighbours if n.GetAtomicNum() == 1 and not n.GetIsotope() and n.GetIdx() >= from_index]
