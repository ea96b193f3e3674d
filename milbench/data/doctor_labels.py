"""The doctor's look at labels and bags: prevalences, missing labels, splits, bag sizes."""

from collections.abc import Iterator

import numpy as np

from milbench.data.finding import Finding, listed
from milbench.data.labelled import Labelled
from milbench.plural import plural

FEW_POSITIVES = 15
"""Fewer than three a fold of five: the AP of such a fold is mostly chance."""


def label_findings(molecules: Labelled) -> Iterator[Finding]:
    """Molecules a split, and prevalences and missing labels of every endpoint in the splits that have labels."""
    names, count = np.unique(molecules.ids.astype(str), return_counts=True)
    if (count > 1).any():
        twice = names[count > 1].tolist()
        what = f"{plural(len(twice), 'ID stands', 'IDs stand')} on more than one row: {listed(twice, 5)}"
        details = {"ids": twice[:100]}
        yield Finding("ids", "error", what, "Which row is the molecule's cannot be told.", "Keep one row a molecule.", details)
    known = np.isfinite(molecules.y)
    for split in dict.fromkeys(molecules.split.tolist()):
        rows = molecules.split == split
        if not known[rows].any():
            what = f"{plural(int(rows.sum()), f'molecule of split {split} has', f'molecules of split {split} have')} no label"
            yield Finding("labels", "info", what, details={"split": split, "molecules": int(rows.sum())})
            continue
        for t, name in enumerate(molecules.names):
            yield _endpoint(name, split, molecules.y[rows, t])


def _endpoint(name: str, split: str, y: np.ndarray) -> Finding:
    positives, known = int((y == 1).sum()), int(np.isfinite(y).sum())
    missing = len(y) - known
    what = f"{name} in {split}: {positives:,} of {known:,} positive ({positives / max(known, 1):.3%})"
    what += f", {missing:,} labels missing" if missing else ""
    details = {"endpoint": name, "split": split, "positives": positives, "known": known, "missing": missing}
    if not positives or positives == known:
        means = "With one class there is nothing to learn, and no score." if split == "train" else "It has no score there."
        severity = "error" if split == "train" else "warning"
        return Finding(
            "labels", severity, what, means, "Leave the endpoint out, or find molecules of the other class.", details
        )
    if positives < FEW_POSITIVES:
        means = f"Fewer than {FEW_POSITIVES} positives: scores are mostly chance, folds have hardly any."
        return Finding("labels", "warning", what, means, "Read its scores with their intervals; use fewer folds.", details)
    means = "Missing labels are left out of loss, scores and sampling." if missing else ""
    return Finding("labels", "info", what, means, details=details)


def bag_findings(molecules: Labelled, offsets: np.ndarray) -> Iterator[Finding]:
    """Conformers a molecule; empty bags and bags of one."""
    sizes = np.diff(offsets)
    low, middle, high = (int(value) for value in np.quantile(sizes, [0, 0.5, 1])) if len(sizes) else (0, 0, 0)
    what = f"{int(sizes.sum()):,} conformers of {len(sizes):,} molecules: {low} to {high}, median {middle}"
    yield Finding("bags", "info", what, details={"low": low, "median": middle, "high": high})
    empty = np.flatnonzero(sizes == 0)
    if empty.size:
        what = f"{plural(empty.size, 'molecule has', 'molecules have')} no conformer"
        do = f"See why they failed ({', '.join(molecules.ids[empty[:5]])}), or keep them with --keep_empty_bags."
        details = {"molecules": empty.size, "ids": molecules.ids[empty[:100]].tolist()}
        yield Finding("bags", "warning", what, "They are dropped, or predicted from 2D alone.", do, details)
    if len(sizes) and high == 1:
        means = "Attention has nothing to choose between."
        yield Finding("bags", "warning", "no molecule has more than one conformer", means, "Make more conformers.")
