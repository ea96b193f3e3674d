"""A SMILES string as a user writes it → one standardised molecule, with a record of what was changed."""

from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Chem.MolStandardize import rdMolStandardize

CHANGES = ("largest_fragment", "neutralised", "rewritten")


@dataclass(frozen=True)
class Molecule:
    """A standardised molecule: `mol` is parsed from the canonical `smiles`, so its atom order is that of the string.

    `changes` names what was done to `source` (see `CHANGES`), in order; "rewritten" alone means the same molecule in
    canonical form.
    """

    source: str
    smiles: str
    inchikey: str
    mol: Chem.Mol
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Rejected:
    """A SMILES that gives no molecule, and RDKit's or our own one-line reason."""

    source: str
    reason: str


def standardise(smiles: str, neutralise: bool = True) -> Molecule | Rejected:
    """Parse, keep the largest fragment, neutralise, and write canonically; unusable input is `Rejected`, never raised.

    The largest fragment has the most heavy atoms (ties: the first of the canonical strings). Charges that a proton can
    undo are undone (rdMolStandardize.Uncharger); a quaternary nitrogen and a nitro group stay as they are.
    """
    smiles = smiles.strip()
    if not smiles:
        return Rejected(smiles, "empty")
    mol = _parse(smiles)
    if isinstance(mol, str):
        return Rejected(smiles, mol)
    changes = []
    with rdBase.BlockLogs():
        mol, dropped = _largest_fragment(mol)
        if dropped:
            changes.append(CHANGES[0])
        if neutralise:
            neutral = rdMolStandardize.Uncharger().uncharge(mol)
            if Chem.MolToSmiles(neutral) != Chem.MolToSmiles(mol):
                changes.append(CHANGES[1])
            mol = neutral
    return _finish(smiles, mol, changes)


def unreadable(smiles: str) -> str:
    """Why a SMILES string gives no molecule; '' where it gives one. Quicker than `standardise`, which may refuse more."""
    mol = _parse(smiles.strip())
    return mol if isinstance(mol, str) else ""


def _finish(source: str, mol: Chem.Mol, changes: list[str]) -> Molecule | Rejected:
    if mol.GetNumHeavyAtoms() == 0:
        return Rejected(source, "no heavy atom")
    canonical = Chem.MolToSmiles(mol)
    again = _parse(canonical)
    if isinstance(again, str):
        return Rejected(source, f"its standardised form cannot be read: {again}")
    with rdBase.BlockLogs():
        inchikey = Chem.MolToInchiKey(again)
    if not inchikey:
        return Rejected(source, "no InChI can be made")
    if canonical != source:
        changes.append(CHANGES[2])
    return Molecule(source, canonical, inchikey, again, tuple(changes))


def _parse(smiles: str) -> Chem.Mol | str:
    """The molecule, or the reason why there is none."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, sanitize=False)
        if mol is None:
            return "not a SMILES string"
        problems = Chem.DetectChemistryProblems(mol)
        if problems:
            return " ".join(problems[0].Message().split())
        return Chem.MolFromSmiles(smiles)


def _largest_fragment(mol: Chem.Mol) -> tuple[Chem.Mol, bool]:
    fragments = Chem.GetMolFrags(mol, asMols=True)
    if len(fragments) < 2:
        return mol, False
    return min(fragments, key=lambda f: (-f.GetNumHeavyAtoms(), Chem.MolToSmiles(f))), True


def draw_svg(smiles: str, width: int = 260, height: int = 180) -> str:
    """Draw a molecule as an SVG element, in pixels, on a transparent ground; what cannot be parsed is an empty element."""
    mol = _parse(smiles)
    if isinstance(mol, str):
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"></svg>'
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    drawer.drawOptions().clearBackground = False
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol)
    drawer.FinishDrawing()
    svg = drawer.GetDrawingText()
    return svg[svg.index("<svg") :]
