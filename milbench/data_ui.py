"""What the data app shows of a file before it is a data set: columns that look like endpoints, folds."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import marimo as mo

from milbench import ui
from milbench.errors import ConfigError
from milbench.figures import label_shares
from milbench.files import read_json
from milbench.tasks import TaskSet, load_tasks

if TYPE_CHECKING:
    from milbench.chem.look import Look  # loads RDKit

FOLDS = (
    "groups: sets of like molecules that stay together (of one scaffold, cluster or plate; alone where folds are stratified). "
    "similarity: mean Tanimoto similarity of a fold's molecules to the nearest one outside of it. near: share of them with "
    "one that is almost the same. sampled: molecules of the fold that these two were measured on."
)


def endpoints(text: str) -> TaskSet:
    """The task set that is typed in the app; an error does not name the command line's flag."""
    try:
        return load_tasks(text)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--tasks", "Endpoints", 1)) from error


def ask_endpoints(seen: "Look", button: Any) -> mo.Html:
    """Which columns look like endpoints, and the button that declares them, or that none does; until one is declared nothing
    can be done with the file.
    """
    columns = ", ".join(f"<b>{html.escape(name)}</b>" for name in seen.suggested)
    none = f"None of the endpoints {html.escape(', '.join(seen.tasks))} is a column of this file"
    if not seen.suggested:
        do = "Add your labels, or name above the file that declares them: examining, folding and preparing begin then."
        return mo.callout(mo.Html(f"{none}, and no other column looks like one (0 and 1, or empty). {do}"), kind="warn")
    words = f"{none}.<br>Columns that look like endpoints: {columns}. Use them?"
    later = ui.dim("Or type the file that declares your own above. Examining, folding and preparing begin after that.")
    return mo.callout(ui.stack(words, button, later), kind="warn")


def overview(seen: "Look", path: Path) -> mo.Html:
    """How many molecules, and of each endpoint how many labels and what share; a script prints it."""
    splits = ", ".join(f"{n:,} {split}" for split, n in seen.molecules["split"].value_counts().items())
    prevalences = seen.prevalences()
    rows = [
        [
            html.escape(row["endpoint"]),
            *(f"{row[n]:,}" for n in ("positives", "negatives", "missing")),
            f"{row['prevalence']:.2%}",
        ]
        for row in prevalences.to_dict("records")
    ]
    columns = ["Endpoint", "Positive", "Negative", "Missing", "Prevalence"]
    notes = "".join(f'<p class="mb-dim">{html.escape(note)}</p>' for note in seen.notes)
    words = f"<p><b>{len(seen):,} molecules</b> ({html.escape(splits)}) in {html.escape(ui.below(path))}</p>{notes}"
    numbers = mo.Html(words + (ui.table(columns, rows, numbers=columns[1:]) if rows else ""))
    ui.say(f"{len(seen)} molecules: {splits}", *(f"{row[0]}: {row[1]} positive, {row[3]} missing, {row[4]}" for row in rows))
    return mo.hstack([numbers, label_shares(prevalences, seen.tasks)], widths=[1, 1], gap=2) if rows else numbers


def fold_table(report: Path) -> str:
    """The folds that were made, HTML; what the columns mean stands above."""
    folds: Sequence[Mapping[str, Any]] = [one | {"fold": one["fold"] + 1} for one in read_json(report)["folds"]]
    rows = [["–" if v is None else f"{v:.2f}" if isinstance(v, float) else f"{v:,}" for v in fold.values()] for fold in folds]
    columns = [name.replace("positives_", "positive ").replace("_", " ") for name in folds[0]]
    return ui.table(columns, rows, numbers=columns, caption=FOLDS)
