"""Where a model applies: how near a molecule is to the ones it was trained on (Tanimoto similarity). Loads no torch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from milbench.data.manifest import read_parquet
from milbench.files import read_array, write_array, write_table
from milbench.seeds import stream

if TYPE_CHECKING:
    from milbench.data.bags import BagData

log = logging.getLogger(__name__)

SHARE = 0.05
"""Share of the training molecules that would themselves fall outside, were they new."""
SAMPLE = 2000
_QUERIES, _THERE = 1024, 8192  # fingerprints compared at once; their similarities are 32 MB
_IDS, _PRINTS = "training_molecules.parquet", "training_fingerprints.npy"


@dataclass(frozen=True, eq=False)
class Domain:
    """The training molecules whose structure is known: ids [n] text, packed fingerprints [n, bytes].

    A molecule is inside when its nearest training molecule is at least as similar as `threshold`.
    """

    ids: np.ndarray
    prints: np.ndarray
    threshold: float

    @classmethod
    def of(cls, ids: np.ndarray, prints: np.ndarray, seed: int = 0) -> "Domain":
        """The domain of these molecules. Its threshold is such that 5 % of them, each compared with all others, are outside.

        It is estimated from at most 2,000 of them, drawn from `seed`.
        """
        n = len(ids)
        rows = np.arange(n) if n <= SAMPLE else np.sort(stream(seed, "domain").choice(n, SAMPLE, replace=False))
        similarity, _ = nearest(prints[rows], prints, but=rows)
        return cls(ids, prints, float(np.quantile(similarity, SHARE)) if n > 1 else 1.0)

    def nearest(self, prints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Similarity [m] to the nearest training molecule and its ID [m] of packed fingerprints [m, bytes]."""
        similarity, place = nearest(prints, self.prints)
        return similarity, self.ids[place]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the molecules into a model's folder; gives what else there is to know, as plain JSON."""
        write_table(folder / _IDS, pd.DataFrame({"ID": pd.Series(self.ids, dtype="str")}))
        write_array(folder / _PRINTS, self.prints)
        fingerprint = f"Morgan, radius 2, {8 * self.prints.shape[1]} bits"
        return {"fingerprint": fingerprint, "molecules": len(self.ids), "threshold": self.threshold}

    @classmethod
    def load(cls, folder: Path, about: dict[str, Any]) -> "Domain":
        """Read back what `save` wrote and gave."""
        ids = read_parquet(folder / _IDS)["ID"].to_numpy(object)
        return cls(ids, read_array(folder / _PRINTS), about["threshold"])


def domain_of(bags: "BagData", rows: np.ndarray, seed: int = 0) -> Domain | None:
    """The domain of the molecules `rows`, those whose SMILES can be read; None (and a line of log) where there are none."""
    if bags.smiles is None or find_spec("rdkit") is None:
        why = "the data have no SMILES" if bags.smiles is None else "RDKit is not installed"
        log.info("applicability: not known, since %s", why)
        return None
    prints = fingerprints(bags.smiles[rows], "fingerprints")
    readable = prints.any(axis=1)
    if not readable.all():
        log.info("applicability: %d of %d molecules have no readable SMILES", (~readable).sum(), len(rows))
    return Domain.of(bags.ids[rows][readable], prints[readable], seed) if readable.any() else None


def fingerprints(smiles: Sequence[object] | np.ndarray, title: str = "") -> np.ndarray:
    """Packed Morgan fingerprints [n, bytes]; zeros where there is no readable SMILES. With a bar where it has a `title`."""
    from milbench.chem.scaffolds import each, fingerprint

    return np.stack(each(fingerprint, [text if isinstance(text, str) else "" for text in smiles], title=title))


def nearest(prints: np.ndarray, there: np.ndarray, but: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Tanimoto similarity [n] of each packed fingerprint [n, bytes] to the nearest of `there` [m, bytes], and its place [n].

    The first of equals. but [n]: a place that is not looked at, one's own. Two empty fingerprints are not similar (0).
    """
    best, place = np.full(len(prints), -1.0, np.float32), np.zeros(len(prints), dtype=np.int64)
    for start in range(0, len(there), _THERE):
        bits = _bits(there[start : start + _THERE])
        for first in range(0, len(prints), _QUERIES):
            rows = np.arange(first, min(first + _QUERIES, len(prints)))
            found = _tanimoto(_bits(prints[rows]), bits)
            if but is not None:
                own = but[rows] - start
                inside = (own >= 0) & (own < len(bits))
                found[np.flatnonzero(inside), own[inside]] = -1
            at = found.argmax(axis=1)
            value = found[np.arange(len(rows)), at]
            better = value > best[rows]
            best[rows[better]], place[rows[better]] = value[better], at[better] + start
    return np.where(best < 0, 0, _similarity(prints, there[place])), place


def _bits(prints: np.ndarray) -> np.ndarray:
    return np.unpackbits(prints, axis=1).astype(np.float32)


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Similarity [n] of the packed fingerprints a [n, bytes] and b [n, bytes], pair by pair."""
    common, union = (np.bitwise_count(x).sum(axis=1, dtype=np.int64) for x in (a & b, a | b))
    return common / np.maximum(union, 1)


def _tanimoto(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Similarities [n, m] of bits [n, F] and [m, F]; counts are exact in float32, so their order is exact too."""
    common = a @ b.T
    union = a.sum(axis=1)[:, None] + b.sum(axis=1) - common
    return common / np.maximum(union, 1)
