"""What makes two molecules alike: Murcko scaffolds and Morgan fingerprints of standardised molecules."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TypeVar, cast

import numpy as np
from joblib import Parallel, delayed
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator, rdMolHash
from rdkit.Chem.Scaffolds import MurckoScaffold

from milbench.chem.molecules import Rejected, standardise
from milbench.progress import progress

BITS = 1024
"""Length of the Morgan fingerprints (radius 2)."""
_CHUNK = 500
T = TypeVar("T")


def murcko_scaffold(smiles: str) -> str:
    """Canonical SMILES of the Murcko scaffold (rings and what links them) of the largest fragment.

    An acyclic molecule has no scaffold and gives its own canonical SMILES, so it shares a group with nothing but itself: put
    together, all acyclic molecules would be one group of unlike molecules. What cannot be parsed gives its text.
    """
    mol = _largest(smiles)
    if mol is None:
        return smiles
    return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol)) or Chem.MolToSmiles(mol)


def fingerprint(smiles: str) -> np.ndarray:
    """Morgan fingerprint of radius 2, packed, uint8 [BITS / 8]; zeros for what cannot be parsed."""
    mol = _largest(smiles)
    if mol is None:
        return np.zeros(BITS // 8, dtype=np.uint8)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)
    return np.packbits(generator.GetFingerprintAsNumPy(mol).astype(bool))


def inchikey(smiles: str) -> str:
    """InChIKey of the standardised molecule (largest fragment, neutralised); empty for what gives no molecule."""
    found = standardise(smiles)
    return "" if isinstance(found, Rejected) else found.inchikey


def twin_keys(smiles: Sequence[str], workers: int = 1) -> list[str]:
    """A key of each molecule that is equal for two SMILES of one standardised molecule; empty for what gives no molecule.

    The InChIKey costs 1.3 ms, the skeleton 0.2 ms, and equal InChIKeys have equal skeletons: only who shares its skeleton with
    another is asked for its InChIKey.
    """
    keys = each(skeleton, smiles, workers)
    count = Counter(keys)
    shared = [i for i, key in enumerate(keys) if key and count[key] > 1]
    for i, key in zip(shared, each(inchikey, [smiles[i] for i in shared], workers), strict=True):
        keys[i] = key
    return keys


def skeleton(smiles: str) -> str:
    """The elements and bonds of the largest fragment, without bond orders, hydrogens, charges and stereochemistry."""
    mol = _largest(smiles)
    if mol is None:
        return ""
    Chem.RemoveStereochemistry(mol)
    return rdMolHash.MolHash(mol, rdMolHash.HashFunction.ElementGraph)


def _largest(smiles: str) -> Chem.Mol | None:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None or "." not in smiles:
            return mol
        fragments = Chem.GetMolFrags(mol, asMols=True)
        return min(fragments, key=lambda part: (-part.GetNumHeavyAtoms(), Chem.MolToSmiles(part)))


def each(function: Callable[[str], T], smiles: Sequence[str], workers: int = 1, title: str = "") -> list[T]:
    """`function` of every SMILES, in order, over `workers` processes, with a bar on a terminal where it has a `title`."""
    chunks = [smiles[start : start + _CHUNK] for start in range(0, len(smiles), _CHUNK)]
    run = Parallel(n_jobs=workers if len(chunks) > 1 else 1, return_as="generator")
    values: list[T] = []
    with progress(title, len(smiles)) if title else nullcontext(lambda done, words: None) as advance:
        for part in cast(Iterator[list[T]], run(delayed(_apply)(function, chunk) for chunk in chunks)):
            values += part
            advance(len(values), "")
    return values


def _apply(function: Callable[[str], T], smiles: Sequence[str]) -> list[T]:
    return [function(text) for text in smiles]
