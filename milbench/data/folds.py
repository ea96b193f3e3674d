"""Folds: which molecules validate when (seed section 5). Balanced over label patterns and seeded."""

from collections.abc import Sequence

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


def folds_brought(fold: np.ndarray, used: np.ndarray) -> int:
    """How many folds there are already in `fold` [M] for the molecules `used` [M]; 0 where they are yet to be made."""
    return len(np.unique(fold[used & (fold >= 0)]))


def study_folds(y: np.ndarray, fold: np.ndarray, used: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """The folds of a study [M], -1 outside `used` [M]: those there are in `fold` [M], or else stratified ones.

    y [M, T] 0/1/NaN.
    """
    out = np.full(len(fold), -1, dtype=np.int64)
    out[used] = fold[used] if folds_brought(fold, used) else stratified_folds(y[used], n_folds, seed)
    return out


def group_folds(groups: np.ndarray, y: np.ndarray, n_folds: int, seed: int = 0) -> np.ndarray:
    """Deal whole groups to folds, so that positives of the rarest label are shared out first, then of the others, then size.

    groups [M] (any values), y [M, T] 0/1/NaN -> fold [M] int64. The group that weighs most goes first, each to the fold where
    it adds least to what is there: every label, and size, counts by its share of the total squared, so a rare label's
    positives outweigh a common one's, and these outweigh size. A group larger than 1 / n_folds of the data makes its fold
    that large.
    """
    names, code = np.unique(groups, return_inverse=True)
    if n_folds < 2 or n_folds > len(names):
        raise DataError("folds", got=n_folds, want=f"2 to {len(names)} (the groups there are)")
    rng = stream(seed, "group_folds", n_folds)
    counted = np.column_stack([y == 1, np.ones(len(y))]).astype(np.float64)
    count = np.stack([np.bincount(code.ravel(), weights=column, minlength=len(names)) for column in counted.T], axis=1)
    share = count / np.maximum(counted.sum(axis=0), 1) ** 2
    order = rng.permutation(len(names))
    order = order[np.argsort(-share[order].sum(axis=1), kind="stable")]
    fold_of_group = np.empty(len(names), dtype=np.int64)
    load, ties = np.zeros((n_folds, share.shape[1])), rng.permutation(n_folds)
    for group in order:
        fold = ties[np.argmin((load @ share[group])[ties])]
        fold_of_group[group] = fold
        load[fold] += count[group]
    return fold_of_group[code.ravel()]


def check_positives(fold: np.ndarray, y: np.ndarray, names: Sequence[str], min_positives: int) -> None:
    """A DataError that names the task when a fold has fewer of its positives than `min_positives`; fold [M], -1 for none."""
    for t, name in enumerate(names):
        counts = np.bincount(fold[(y[:, t] == 1) & (fold >= 0)], minlength=int(fold.max()) + 1)
        if counts.min() < min_positives:
            what = f"{name} has {int(counts.min())} positives in fold {int(counts.argmin()) + 1} ({int(counts.sum())} in all)"
            do = "make fewer folds, group otherwise, or ask for fewer (--min_positives)"
            raise DataError("folds", what, want=f"{min_positives} or more in each", do=do)
