"""The doctor's look at feature columns, chunk by chunk over arrays that may be larger than memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from milbench.data.finding import Finding, listed
from milbench.data.labelled import Labelled
from milbench.plural import plural
from milbench.seeds import stream

SUSPICIOUS, CERTAIN = 0.95, 0.999
"""AUC of one feature alone from which it is a warning, an error. The best single descriptors of a real endpoint reach 0.85."""
FAMILY_ERROR = 1e-3
"""Chance that any of all features of unrelated noise is named for an endpoint (Bonferroni)."""
TIGHT = 0.02
"""Standard errors within which mean 0 and spread 1 count as exact: unscaled columns that happen to be standard normal come that
close one time in 60 each for the mean and for the spread, and more than half of at least three columns must."""
_ROWS, _COLUMNS = 32_768, 64
_MOST_POSITIVES, _MOST_NEGATIVES = 3_000, 12_000
_MOST_SPLITS = 4


@dataclass(frozen=True)
class Columns:
    """What one pass learns of F columns in R rows of M molecules.

    low, high [F] of finite values; bad [F] NaN or inf values; varies [F] bool: inside some bag; hash [F] uint64 of the
    content; repeats: rows identical to an earlier one of their bag, repeating [M] bool: molecules that have some; means [M, F]
    float32 over each bag; rows [S], total [S, F], squares [S, F] for each of the S `splits`.
    """

    low: np.ndarray
    high: np.ndarray
    bad: np.ndarray
    varies: np.ndarray
    hash: np.ndarray
    repeats: int
    repeating: np.ndarray
    means: np.ndarray
    splits: tuple[str, ...]
    rows: np.ndarray
    total: np.ndarray
    squares: np.ndarray


def survey(x: np.ndarray, offsets: np.ndarray, split: np.ndarray) -> Columns:
    """Look at every value of x [R, F] once, in chunks of whole bags; offsets [M+1], split [M]."""
    width, molecules = x.shape[1], len(offsets) - 1
    splits = tuple(dict.fromkeys(split.tolist()))
    code = np.array([splits.index(name) for name in split.tolist()], dtype=np.int64)
    found = Columns(
        low=np.full(width, np.inf),
        high=np.full(width, -np.inf),
        bad=np.zeros(width, np.int64),
        varies=np.zeros(width, bool),
        hash=np.zeros(width, np.uint64),
        repeats=0,
        repeating=np.zeros(molecules, bool),
        means=np.zeros((molecules, width), np.float32),
        splits=splits,
        rows=np.zeros(len(splits), np.int64),
        total=np.zeros((len(splits), width)),
        squares=np.zeros((len(splits), width)),
    )
    rng = stream(0, "doctor", "hash")
    across = rng.integers(1, 2**63, width, dtype=np.uint64) | np.uint64(1)
    repeats = 0
    for first, last in _chunks(offsets):
        part = np.asarray(x[offsets[first] : offsets[last]], dtype=np.float32) + np.float32(0)  # -0 becomes 0
        down = rng.integers(1, 2**63, len(part), dtype=np.uint64) | np.uint64(1)
        repeats += _look(found, part, offsets[first : last + 1] - offsets[first], first, code[first:last], (down, across))
    return Columns(**{**vars(found), "repeats": repeats})


def _chunks(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of molecules with about `_ROWS` rows each."""
    first, molecules = 0, len(offsets) - 1
    while first < molecules:
        last = int(np.searchsorted(offsets, offsets[first] + _ROWS, "right")) - 1
        last = min(max(last, first + 1), molecules)
        yield first, last
        first = last


def _look(
    found: Columns,
    part: np.ndarray,
    offsets: np.ndarray,
    first: int,
    code: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
) -> int:
    """Add one chunk to `found`; gives its rows that repeat an earlier one of their bag."""
    if not len(part):
        return 0
    bits = part.view(np.uint32)
    found.hash[:] += np.array([(bits[:, j] * weights[0]).sum(dtype=np.uint64) for j in range(bits.shape[1])])
    sizes = np.diff(offsets)
    bag = np.repeat(np.arange(len(sizes)), sizes)
    repeating = _repeats(bits, bag, weights[1]) if (sizes > 1).any() else np.empty(0, np.int64)
    found.repeating[first + repeating] = True
    finite = np.isfinite(part)
    found.bad[:] += len(part) - finite.sum(axis=0)
    if not finite.all():
        part = np.where(finite, part, np.float32(np.nan))
    found.low[:] = np.fmin(found.low, np.fmin.reduce(part))
    found.high[:] = np.fmax(found.high, np.fmax.reduce(part))
    _bags(found, part, offsets, first)
    _sums(found, np.nan_to_num(part, nan=0.0) if not finite.all() else part, code[bag])
    return len(repeating)


def _repeats(bits: np.ndarray, bag: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The bag of every row that repeats an earlier row of that bag, value for value."""
    key = np.zeros(len(bits), np.uint64)
    for j in range(bits.shape[1]):
        key += bits[:, j] * weights[j]
    order = np.lexsort((key, bag))
    same = (key[order][1:] == key[order][:-1]) & (bag[order][1:] == bag[order][:-1])
    return bag[order][1:][same]


def _bags(found: Columns, part: np.ndarray, offsets: np.ndarray, first: int) -> None:
    sizes = np.diff(offsets)
    full = np.flatnonzero(sizes)
    starts = offsets[:-1][full]
    if (sizes > 1).any():
        low, high = np.minimum.reduceat(part, starts, axis=0), np.maximum.reduceat(part, starts, axis=0)
        found.varies[:] |= (high > low).any(axis=0)
    found.means[first + full] = np.add.reduceat(part, starts, axis=0, dtype=np.float64) / sizes[full, None]


def _sums(found: Columns, part: np.ndarray, code: np.ndarray) -> None:
    for s in np.unique(code):
        rows = part if (code == s).all() else part[code == s]
        found.rows[s] += len(rows)
        found.total[s] += rows.sum(axis=0, dtype=np.float64)
        found.squares[s] += np.einsum("rf,rf->f", rows, rows, dtype=np.float64)


def column_findings(table: str, names: tuple[str, ...], columns: Columns, *, in_bags: bool) -> Iterator[Finding]:
    """Columns with NaN or inf, constant, equal to another, or the same for all conformers; conformers that are identical."""
    bad = [names[j] for j in np.flatnonzero(columns.bad)]
    if bad:
        what = f"{len(bad)} of {len(names)} {table} columns hold {int(columns.bad.sum()):,} NaN or inf: {listed(bad)}"
        do = "Mend or drop them, or run with --impute median."
        counts = {names[j]: int(columns.bad[j]) for j in np.flatnonzero(columns.bad)}
        yield Finding("columns", "error", what, "Training refuses such values.", do, {"table": table, "columns": counts})
    constant = columns.high <= columns.low
    same = [names[j] for j in np.flatnonzero(constant)]
    if same:
        what = f"{len(same)} of {len(names)} {table} columns are constant: {listed(same)}"
        yield _harmless(table, same, what, "They say nothing; they cost time.")
    twins = _twins(names, columns.hash, ~constant)
    if twins:
        what = f"{len(twins)} {table} columns repeat another: {listed([f'{b} = {a}' for a, b in twins])}"
        yield _harmless(table, [b for _, b in twins], what, "The same value counts twice; it costs time.")
    if not in_bags:
        return
    flat = [names[j] for j in np.flatnonzero(~columns.varies & ~constant & (columns.bad == 0))]
    if flat and columns.varies.any():
        what = f"{len(flat)} instance columns never differ between the conformers of a molecule: {listed(flat)}"
        means = "They are molecule features: attention cannot use them, and they are copied to every conformer."
        details = {"table": table, "columns": flat}
        yield Finding("columns", "warning", what, means, "Move them to the 2D table.", details)
    if columns.repeats:
        what = f"{columns.repeats:,} conformers of {int(columns.repeating.sum()):,} molecules repeat another of the same bag"
        means = "Copies count twice in every pool and add nothing."
        details = {"conformers": columns.repeats, "molecules": int(columns.repeating.sum())}
        yield Finding("conformers", "warning", what, means, "Prune identical conformers when they are made.", details)


def _harmless(table: str, columns: list[str], what: str, means: str) -> Finding:
    return Finding("columns", "info", what, means, "Drop them if you like.", {"table": table, "columns": columns})


def _twins(names: tuple[str, ...], hashes: np.ndarray, chosen: np.ndarray) -> list[tuple[str, str]]:
    """(first, repeat) for every chosen column whose content equals that of an earlier one."""
    first: dict[int, str] = {}
    out = []
    for j in np.flatnonzero(chosen):
        key = int(hashes[j])
        if key in first:
            out.append((first[key], names[j]))
        first.setdefault(key, names[j])
    return out


def scaling_findings(table: str, names: tuple[str, ...], columns: Columns) -> Iterator[Finding]:
    """Was the table standardised beforehand, and over which splits? Mean 0 and spread 1 hold exactly over those alone."""
    usable = (columns.bad == 0) & (columns.high > columns.low)
    if usable.sum() < 3 or len(columns.splits) > _MOST_SPLITS:
        return
    everything = tuple(range(len(columns.splits)))
    subsets = [chosen for size in everything for chosen in combinations(everything, size + 1)]
    over = {chosen: _standardised(columns, usable, chosen) for chosen in subsets}
    chosen = max(over, key=lambda subset: (over[subset], len(subset)))
    if over[chosen] <= 0.5:
        return
    splits = [columns.splits[s] for s in chosen]
    share = f"{over[chosen]:.0%} of the {int(usable.sum())} {table} columns"
    what = f"{share} have mean 0 and spread 1 exactly over {' + '.join(splits)}"
    leaks = splits != ["train"]
    means = (
        "The table was standardised over molecules that are scored later: their statistics leaked into training."
        if leaks
        else "The table was standardised over all training molecules, so each fold's scaling has seen its validation molecules."
    )
    do = "Give unscaled features; scaling is fitted inside each fold."
    details = {"table": table, "splits": splits, "share": over[chosen]}
    yield Finding("scaling", "warning", what, means, do, details)


def _standardised(columns: Columns, usable: np.ndarray, chosen: tuple[int, ...]) -> float:
    """Share of the usable columns whose mean is 0 and whose spread (by n or n - 1) is 1 over the splits `chosen`."""
    rows = int(columns.rows[list(chosen)].sum())
    if rows < 3:
        return 0.0
    mean = columns.total[list(chosen)].sum(axis=0) / rows
    variance = columns.squares[list(chosen)].sum(axis=0) / rows - mean**2
    off = np.minimum(
        np.abs(np.sqrt(np.maximum(variance, 0)) - 1), np.abs(np.sqrt(np.maximum(variance, 0) * rows / (rows - 1)) - 1)
    )
    exact = (np.abs(mean) < TIGHT / np.sqrt(rows)) & (off < TIGHT / np.sqrt(2 * rows))
    return float(exact[usable].mean())


def leak_findings(table: str, names: tuple[str, ...], x: np.ndarray, molecules: Labelled, seed: int = 0) -> Iterator[Finding]:
    """Features (bag means of instance features) x [M, F] that alone predict a label suspiciously well.

    AUC of at least `SUSPICIOUS` in either direction, and beyond what the best of all columns of noise would reach (normal
    approximation of the Mann-Whitney statistic, Bonferroni), so a few positives cannot raise it by luck.
    """
    for t, name in enumerate(molecules.names):
        rows = _balanced(molecules.y[:, t], stream(seed, "leak", name))
        y = molecules.y[rows, t] == 1
        if y.sum() < 10 or y.all():
            continue
        auc = _aucs(x, rows, y)
        spread = np.sqrt((len(y) + 1) / (12 * y.sum() * (~y).sum()))
        chance = 2 * stats.norm.sf(np.abs(auc - 0.5) / spread) * len(names)
        strong = np.flatnonzero((np.abs(auc - 0.5) >= SUSPICIOUS - 0.5) & (chance < FAMILY_ERROR))
        if strong.size:
            yield _leak(table, name, {names[j]: float(auc[j]) for j in strong[np.argsort(-np.abs(auc[strong] - 0.5))]})


def _balanced(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of at most so many positives and negatives, drawn at random: an AUC does not depend on the prevalence."""
    parts = []
    for value, most in ((1, _MOST_POSITIVES), (0, _MOST_NEGATIVES)):
        rows = np.flatnonzero(y == value)
        parts.append(rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False)))
    return np.concatenate(parts)


def _aucs(x: np.ndarray, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """AUC [F] of each column of x[rows] as a score for y [n] bool; NaN and inf count as the lowest value."""
    out = np.empty(x.shape[1])
    n_pos = y.sum()
    for start in range(0, x.shape[1], _COLUMNS):
        block = np.asarray(x[rows, start : start + _COLUMNS], dtype=np.float32)
        ranks = stats.rankdata(np.where(np.isfinite(block), block, -np.inf), axis=0)
        out[start : start + _COLUMNS] = (ranks[y].sum(axis=0) - n_pos * (n_pos + 1) / 2) / (n_pos * (~y).sum())
    return out


def _leak(table: str, name: str, aucs: dict[str, float]) -> Finding:
    best = max(abs(auc - 0.5) + 0.5 for auc in aucs.values())
    which = listed([f"{column} ({auc:.3f})" for column, auc in aucs.items()])
    what = f"{name}: {plural(len(aucs), f'{table} column predicts', f'{table} columns predict')} it alone, by ROC-AUC: {which}"
    means = "No descriptor of a molecule does that: such a column is usually the label, the measurement, or made from them."
    details = {"endpoint": name, "table": table, "auc": aucs}
    severity = "error" if best >= CERTAIN else "warning"
    return Finding("leak", severity, what, means, "Find out where the column comes from; leave it out.", details)
