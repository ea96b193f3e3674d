"""The doctor's look at plates: can a predictor that knows only where a molecule lay in the screen guess its label?"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from milbench.data.finding import Finding, listed
from milbench.data.labelled import Labelled
from milbench.seeds import stream

DRAWS = 999
"""Permutations of the labels; a warning needs the real AP to beat them all, which clean labels do one time in 1,000."""
LIFT = 1.5
"""AP over prevalence from which an association is a warning. Series lie together on plates, so a weak one is chemistry."""
FAMILY_ERROR = 1e-3
"""Chance that any plate of clean labels is named, over all plates of an endpoint (Bonferroni)."""
MIN_SIZE, MIN_POSITIVES = 5, 10
_PRIOR = 10.0  # molecules that a plate's rate is shrunk by
_FOLDS, _BLOCK = 5, 37  # 27 blocks of 37 are 999 draws
NO_GROUPS = Finding(
    "plates",
    "info",
    "no plate column, and IDs that do not count: plates were not looked at",
    do="Name the column of the plate or batch with --groups.",
)


@dataclass(frozen=True)
class Grouping:
    """Groups that no label should depend on: name, group [M] as text ('': none), how many molecules fit in one (0: unknown)."""

    name: str
    of: np.ndarray
    capacity: int = 0


def groupings(molecules: Labelled, columns: Sequence[str], id_block: int) -> list[Grouping]:
    """The plate column and those named in `columns`; without a plate column, blocks of `id_block` consecutive IDs."""
    plate = [name for name in molecules.table.names if name.lower() in {"plate", "plate_id", "batch"}]
    named = [Grouping(name, molecules.cells(name)) for name in dict.fromkeys([*plate, *columns])]
    numbers = None if plate else _numbers(molecules.ids)
    if numbers is None:
        return named
    blocks = ((numbers - 1) // id_block).astype(str).astype(object)
    return [Grouping(f"block of {id_block} IDs", blocks, id_block), *named]


def _numbers(ids: np.ndarray) -> np.ndarray | None:
    """The counts in IDs that are one prefix and a number (C17, 17), int64 [M]; None for other IDs."""
    parts = [re.fullmatch(r"(\D*?)(\d{1,15})", text) for text in ids.tolist()]
    if not parts or any(part is None for part in parts) or len({part[1] for part in parts if part}) > 1:
        return None
    return np.array([int(part[2]) for part in parts if part], dtype=np.int64)


def plate_findings(molecules: Labelled, grouping: Grouping, seed: int = 0) -> Iterator[Finding]:
    """Endpoints that the group predicts, and groups that lie wholly in one split."""
    yield from complete_groups(molecules, grouping)
    for t, name in enumerate(molecules.names):
        known = np.isfinite(molecules.y[:, t]) & (grouping.of != "")
        finding = _association(name, grouping, grouping.of[known], molecules.y[known, t] == 1, seed)
        if finding is not None:
            yield finding


def _association(name: str, grouping: Grouping, groups: np.ndarray, y: np.ndarray, seed: int) -> Finding | None:
    names, code, size = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    large = size[code] >= MIN_SIZE
    if (size >= MIN_SIZE).sum() < 3 or y[large].sum() < MIN_POSITIVES or y[large].all():
        return None
    ap, best, prevalence = plate_only_ap(code[large], y[large], stream(seed, "plates", name))
    if ap <= best or ap <= prevalence:
        return None
    shifted = shifted_groups(code[large], y[large], names)
    severity = "warning" if ap >= LIFT * prevalence else "info"
    what = f"{name}: a predictor that knows only the {grouping.name} has AP {ap:.3f} at a prevalence of {prevalence:.4f}"
    what += f" ({ap / prevalence:.1f} times)" + (f"; most shifted: {listed(list(shifted))}" if shifted else "")
    means = "The label depends on where the molecule lay, through the assay or through chemistry that was plated together."
    do = f"Keep ID and {grouping.name} out of the features, group folds by it, and compare scores with this AP."
    details = {"endpoint": name, "grouping": grouping.name, "ap": ap, "prevalence": prevalence, "largest_by_chance": best}
    return Finding("plates", severity, what, means, do, details | {"shifted": shifted})


def plate_only_ap(code: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Out-of-fold AP of the plate's rate as a score, the largest with permuted labels, and the prevalence.

    code [n] plate, y [n] bool. The rate comes from the plate's molecules in the other folds, shrunk to the overall rate. Labels
    are permuted `DRAWS` times, or until a permutation does as well.
    """
    groups = int(code.max()) + 1
    cell = code * _FOLDS + rng.permutation(len(code)) % _FOLDS
    size = np.bincount(cell, minlength=groups * _FOLDS)
    used = np.flatnonzero(size)
    total = int(y.sum())
    real = np.bincount(cell[y], minlength=groups * _FOLDS)
    of = used // _FOLDS
    ap, best = _cell_ap(size[used], real[used], of), 0.0
    for _ in range(DRAWS // _BLOCK):
        drawn = rng.multivariate_hypergeometric(size[used], total, size=_BLOCK, method="marginals")
        best = max(best, *(_cell_ap(size[used], counts, of) for counts in drawn))
        if best >= ap:
            break
    return ap, best, total / len(y)


def _cell_ap(size: np.ndarray, positives: np.ndarray, group: np.ndarray) -> float:
    """AP when all molecules of a (plate, fold) cell share the score that the plate's other cells give them."""
    rate = positives.sum() / size.sum()
    others = np.bincount(group, weights=positives)[group] - positives
    score = (others + _PRIOR * rate) / (np.bincount(group, weights=size)[group] - size + _PRIOR)
    _, level = np.unique(np.round(-score, 12), return_inverse=True)
    found, seen = np.bincount(level, weights=positives), np.bincount(level, weights=size)
    return float((found * np.cumsum(found) / np.cumsum(seen)).sum() / positives.sum())


def shifted_groups(code: np.ndarray, y: np.ndarray, names: np.ndarray) -> dict[str, float]:
    """Groups with at least twice the rate of the rest, beyond chance (one-sided binomial, Bonferroni): name -> rate."""
    size, positives = np.bincount(code, minlength=len(names)), np.bincount(code[y], minlength=len(names))
    rest = (y.sum() - positives) / np.maximum(len(y) - size, 1)
    tail = stats.binom.sf(positives - 1, size, rest)
    rate = positives / np.maximum(size, 1)
    chosen = np.flatnonzero((tail * (size > 0).sum() < FAMILY_ERROR) & (rate >= 2 * rest))
    return {str(names[g]): float(rate[g]) for g in chosen[np.argsort(tail[chosen], kind="stable")]}


def complete_groups(molecules: Labelled, grouping: Grouping) -> Iterator[Finding]:
    """Groups that lie wholly in the training split while the split takes a share of the others: were they put there on purpose?

    Without other splits in the table, a group is complete when no ID of its block is missing, or it is as large as the largest.
    """
    train = molecules.split == "train"
    names, code = np.unique(grouping.of.astype(str), return_inverse=True)
    inside = np.bincount(code[train], minlength=len(names))
    room = np.full(len(names), grouping.capacity or inside.max()) if train.all() else np.bincount(code, minlength=len(names))
    if not train.any() or (inside > room).any() or len(names) < 3:
        return
    share = inside / room
    usual = float(np.median(share))
    tail = stats.binom.sf(inside - 1, room, usual)
    complete = (share >= 0.98) & (tail * len(names) < FAMILY_ERROR) & (names != "")
    if not complete.any() or (share >= 0.98).mean() > 0.5:
        return
    yield _about_complete(molecules, grouping, names[complete].tolist(), complete[code] & train, usual)


def _about_complete(molecules: Labelled, grouping: Grouping, names: list[str], inside: np.ndarray, usual: float) -> Finding:
    train = molecules.split == "train"
    names = sorted(names, key=lambda name: (len(name), name))
    molecule_share = float(inside.sum() / train.sum())
    shares, shifted = {}, False
    for t, name in enumerate(molecules.names):
        positive = train & (molecules.y[:, t] == 1)
        here, total = int((positive & inside).sum()), int(positive.sum())
        if total < MIN_POSITIVES:
            continue
        shares[name] = here / total
        beyond = stats.binom.sf(here - 1, total, molecule_share) < FAMILY_ERROR
        shifted |= bool(beyond) and here / total >= LIFT * molecule_share
    positives = ", ".join(f"{share:.1%} of {name}'s positives" for name, share in shares.items())
    alone = f"are full, while train usually has {usual:.0%} of one"
    split = f"lie wholly in train, which usually takes {usual:.0%} of one"
    what = f"{len(names)} of the groups by {grouping.name} {alone if train.all() else split}: "
    what += f"{listed(names, 40)}; they are {molecule_share:.1%} of its molecules and hold {positives or 'few positives'}"
    means = "These groups were set apart when the data were split, and no other split has molecules like theirs."
    do = "Look at what is special about them; score with and without them." if shifted else ""
    details = {"grouping": grouping.name, "groups": names, "molecules": molecule_share, "positives": shares, "usual": usual}
    return Finding("plates", "warning" if shifted else "info", what, means, do, details)
