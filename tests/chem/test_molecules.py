"""What becomes of a SMILES as users write them."""

import pytest
from rdkit import Chem

from milbench.chem.molecules import Molecule, Rejected, draw_svg, standardise


@pytest.mark.parametrize(
    ("written", "kept", "changes"),
    [
        ("CCO", "CCO", ()),
        ("OCC", "CCO", ("rewritten",)),
        ("CC(=O)[O-].[Na+]", "CC(=O)O", ("largest_fragment", "neutralised", "rewritten")),
        ("C[N+](C)(C)C.[Br-]", "C[N+](C)(C)C", ("largest_fragment", "rewritten")),
        ("O=[N+]([O-])c1ccccc1", "O=[N+]([O-])c1ccccc1", ()),
        ("[2H]C([2H])([2H])O", "[2H]C([2H])([2H])O", ()),
        ("  CCO ", "CCO", ()),
    ],
)
def test_a_molecule_is_standardised_and_says_what_was_changed(written: str, kept: str, changes: tuple[str, ...]) -> None:
    found = standardise(written)
    assert isinstance(found, Molecule)
    assert (found.smiles, found.changes) == (kept, changes)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("hello", "not a SMILES"),
        ("c1cccc1", "kekulize"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("[H][H]", "no heavy atom"),
    ],
)
def test_what_cannot_be_read_is_rejected_with_a_reason(written: str, reason: str, capfd: pytest.CaptureFixture) -> None:
    found = standardise(written)
    assert isinstance(found, Rejected)
    assert reason in found.reason
    assert capfd.readouterr().err == ""


def test_the_atom_order_is_that_of_the_stored_smiles() -> None:
    found = standardise("OC(=O)c1ccccc1N")
    again = Chem.MolFromSmiles(found.smiles)
    assert [a.GetSymbol() for a in found.mol.GetAtoms()] == [a.GetSymbol() for a in again.GetAtoms()]


def test_two_ways_of_writing_give_one_molecule() -> None:
    one, other = standardise("C1=CC=CC=C1C(=O)O"), standardise("OC(=O)c1ccccc1.Cl")
    assert (one.smiles, one.inchikey) == (other.smiles, other.inchikey)


def test_the_first_of_equal_fragments_does_not_depend_on_their_order() -> None:
    assert standardise("CCO.CCN").smiles == standardise("CCN.CCO").smiles


def test_a_drawing_is_svg_even_of_nonsense() -> None:
    assert draw_svg("CCO").startswith("<svg") and "</svg>" in draw_svg("CCO")
    assert draw_svg("hello").startswith("<svg")
