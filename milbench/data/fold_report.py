"""How good folds are: sizes, positives, groups, and how near the validation molecules are to the training ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from milbench.data.domain import nearest
from milbench.seeds import stream

NEAR = 0.7
"""A Tanimoto similarity (Morgan radius 2) from which two molecules are analogues."""


@dataclass(frozen=True)
class FoldReport:
    """Quality of K folds for T tasks: molecules, groups and largest_group [K], positives [K, T].

    similarity [K]: mean Tanimoto similarity of a validation molecule to its nearest training molecule, near [K]: share of these
    of at least `NEAR`, both from `sampled` [K] molecules; NaN where they were not looked for.
    """

    names: tuple[str, ...]
    molecules: np.ndarray
    positives: np.ndarray
    groups: np.ndarray
    largest_group: np.ndarray
    similarity: np.ndarray
    near: np.ndarray
    sampled: np.ndarray

    def table(self) -> pd.DataFrame:
        """One row a fold."""
        columns: dict[str, Any] = {"fold": np.arange(len(self.molecules)), "molecules": self.molecules}
        columns |= {f"positives_{name}": self.positives[:, t] for t, name in enumerate(self.names)}
        columns |= {"groups": self.groups, "largest_group": self.largest_group}
        return pd.DataFrame(columns | {"similarity": self.similarity, "near": self.near, "sampled": self.sampled})

    def lines(self) -> list[str]:
        """The table in words."""
        tasks = "  ".join(f"{name:>{max(len(name), 5)}}" for name in self.names)
        lines = [f"fold  molecules  groups  largest  {tasks}  nearest training molecule (mean Tanimoto, share >= {NEAR})"]
        for k in range(len(self.molecules)):
            counts = "  ".join(f"{self.positives[k, t]:>{max(len(name), 5)}}" for t, name in enumerate(self.names))
            near = "–" if np.isnan(self.similarity[k]) else f"{self.similarity[k]:.3f}, {self.near[k]:.0%} of {self.sampled[k]}"
            lines.append(f"{k:>4}  {self.molecules[k]:>9}  {self.groups[k]:>6}  {self.largest_group[k]:>7}  {counts}  {near}")
        return lines


def fold_report(
    fold: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    groups: np.ndarray,
    prints: np.ndarray | None = None,
    sample: int = 300,
    seed: int = 0,
) -> FoldReport:
    """Describe folds. fold [M] (-1: none), y [M, T], groups [M], prints: packed fingerprints [M, bytes] or None.

    The similarity is estimated from `sample` molecules a fold, drawn from `seed`: with 300, a standard error of about 0.01.
    """
    n_folds = int(fold.max()) + 1
    sizes = [np.unique(groups[fold == k], return_counts=True)[1] for k in range(n_folds)]
    nearest = [nearest_similarity(prints, fold, k, sample, seed) for k in range(n_folds)]
    return FoldReport(
        names=tuple(names),
        molecules=np.bincount(fold[fold >= 0], minlength=n_folds),
        positives=np.stack([(y[fold == k] == 1).sum(axis=0) for k in range(n_folds)]),
        groups=np.array([len(counts) for counts in sizes]),
        largest_group=np.array([counts.max(initial=0) for counts in sizes]),
        similarity=np.array([values.mean() if values.size else np.nan for values in nearest]),
        near=np.array([(values >= NEAR).mean() if values.size else np.nan for values in nearest]),
        sampled=np.array([values.size for values in nearest]),
    )


def nearest_similarity(prints: np.ndarray | None, fold: np.ndarray, k: int, sample: int, seed: int) -> np.ndarray:
    """Tanimoto similarity [<= sample] of molecules of fold k, drawn from `seed`, to the nearest molecule of the other folds."""
    val, train = np.flatnonzero(fold == k), np.flatnonzero((fold >= 0) & (fold != k))
    if prints is None or not sample or not len(val) or not len(train):
        return np.empty(0)
    chosen = val if len(val) <= sample else stream(seed, "similarity", k).choice(val, sample, replace=False)
    return nearest(prints[chosen], prints[train])[0]
