"""Folds: which molecules validate when (seed section 5). Balanced over label patterns and seeded."""

import numpy as np

from milbench.errors import DataError
from milbench.seeds import stream


def stratified_folds(y: np.ndarray, n_folds: int, seed: int = 0) -> np.ndarray:
    """Deal molecules to folds pattern by pattern, rarest label first, so that every fold has its share of each.

    y [M, T] 0/1/NaN -> fold [M] int64. Within a label pattern, fold sizes differ by at most one; what is left over of a
    pattern goes to the folds that have the fewest positives of its rarest label, then the fewest molecules.
    """
    if n_folds < 2 or n_folds > len(y):
        raise DataError("folds", got=n_folds, want=f"2 to {len(y)} (the molecules there are)")
    rng = stream(seed, "folds", n_folds)
    positive = y == 1
    rarity = np.argsort(positive.sum(axis=0), kind="stable")
    patterns, code = np.unique(np.where(np.isnan(y), 2, y)[:, rarity], axis=0, return_inverse=True)
    fold = np.full(len(y), -1, dtype=np.int64)
    load = np.zeros((n_folds, y.shape[1] + 1), dtype=np.int64)  # positives by label, then molecules
    for pattern in np.lexsort((patterns != 1).T[::-1]):  # patterns with the rarest label first
        members = rng.permutation(np.flatnonzero(code.ravel() == pattern))
        adds = np.append(positive[members[0]].astype(np.int64), 1)
        keys = [rng.random(n_folds), load[:, -1], *(load[:, t] for t in rarity[::-1] if adds[t])]
        ranked = np.lexsort(keys)
        fold[members] = ranked[np.arange(len(members)) % n_folds]
        load += np.bincount(fold[members], minlength=n_folds)[:, None] * adds
    return fold
