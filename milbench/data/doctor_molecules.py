"""The doctor's look at the molecules: the same one twice, in two splits or folds, or with two labels."""

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pandas as pd

from milbench.data.finding import Finding
from milbench.data.labelled import Labelled
from milbench.plural import plural

_KEYS = ("inchikey", "InChIKey")


def duplicate_findings(molecules: Labelled, workers: int = 1) -> Iterator[Finding]:
    """Molecules that appear twice (InChIKey of the standardised form): in one split, across splits or folds, conflicting."""
    keys = _keys(molecules, workers)
    if isinstance(keys, Finding):
        yield keys
        return
    if (keys == "").any():
        rows = np.flatnonzero(keys == "")
        what = f"{len(rows):,} SMILES give no molecule, e.g. ID {molecules.ids[rows[0]]}"
        do = "Mend or drop them; milbench prepare says what is wrong with each."
        yield Finding("molecules", "warning", what, "They cannot be described or compared.", do, {"ids": _ids(molecules, rows)})
    code = pd.factorize(np.where(keys == "", molecules.ids, keys))[0]
    rows = np.flatnonzero(np.bincount(code)[code] > 1)
    if not rows.size:
        yield Finding("duplicates", "info", "no molecule appears twice (InChIKey)")
        return
    yield from _described(molecules, rows, code[rows])


def _keys(molecules: Labelled, workers: int) -> np.ndarray | Finding:
    column = next((name for name in _KEYS if name in molecules.table.names), None)
    if column is not None:
        return molecules.cells(column)
    smiles = molecules.smiles
    if smiles is None:
        do = "Add one, or name it: --smiles_col."
        return Finding("duplicates", "info", "no SMILES column: duplicates were not looked for", do=do)
    if find_spec("rdkit") is None:
        what = "RDKit is not installed: duplicates were not looked for"
        return Finding("duplicates", "info", what, do="pip install 'milbench[chem]'")
    from milbench.chem.scaffolds import twin_keys

    return np.array(twin_keys(smiles.tolist(), workers), dtype=object)


def _ids(molecules: Labelled, rows: np.ndarray) -> list[str]:
    return [str(name) for name in molecules.ids[rows[:100]]]


def _described(molecules: Labelled, rows: np.ndarray, code: np.ndarray) -> Iterator[Finding]:
    """Findings about the molecules `rows`, each of which has a twin of the same `code`."""
    count = len(np.unique(code))
    appear = plural(count, "molecule appears", "molecules appear")
    what = f"{appear} {len(rows):,} times (InChIKey of the largest fragment, neutralised)"
    do = "Keep one of each, or fold by scaffold so that twins stay together."
    yield Finding("duplicates", "info", what, "Twins in two folds make validation easier than it is.", do, {"molecules": count})
    across = _several(code, molecules.split[rows])
    if across.any():
        examples = _examples(molecules, rows, code, across)
        what = f"{_are(code[across])} in more than one split, e.g. {examples}"
        means = "A score on the other split counts molecules that were trained on."
        details = {"ids": _ids(molecules, rows[across])}
        yield Finding("duplicates", "warning", what, means, "Drop them from train, or from the other split.", details)
    if "cv_fold" in molecules.table.names:
        fold = molecules.cells("cv_fold")[rows]
        used = ~np.isin(fold.astype(str), ["", "-1"])
        apart = _several(code[used], fold[used])
        if apart.any():
            what = f"{_are(code[used][apart])} in more than one fold"
            yield Finding("duplicates", "warning", what, "Validation sees training molecules.", "Fold by scaffold or cluster.")
    for t, name in enumerate(molecules.names):
        y = molecules.y[rows, t]
        known = np.isfinite(y)
        conflict = np.zeros(len(rows), dtype=bool)
        conflict[known] = _several(code[known], y[known])
        if conflict.any():
            number = len(np.unique(code[conflict]))
            have = plural(number, "molecule has", "molecules have")
            what = f"{name}: {have} two labels, e.g. {_examples(molecules, rows, code, conflict)}"
            means = "At least one label of each is noise, or a salt or a well behaves differently."
            details = {"endpoint": name, "ids": _ids(molecules, rows[conflict])}
            yield Finding("duplicates", "warning", what, means, "Decide which label holds, or leave it empty.", details)


def _are(codes: np.ndarray) -> str:
    return plural(len(np.unique(codes)), "molecule is", "molecules are")


def _several(code: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which rows [n] belong to a molecule that has more than one of `values`."""
    pairs = np.unique(np.column_stack([code, pd.factorize(values)[0]]), axis=0)
    several, count = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(code, several[count > 1])


def _examples(molecules: Labelled, rows: np.ndarray, code: np.ndarray, chosen: np.ndarray) -> str:
    twins = rows[code == code[np.argmax(chosen)]]
    return " and ".join(f"ID {molecules.ids[row]}" for row in twins[:2])
