"""The EUOS25 challenge's submission format.

The published files do not state it; what was taken is known from several teams' uploads and from the leaderboard file: a CSV of
four probability columns, one row a test molecule in the test file's order, no ID. The names are those of the leaderboard file.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.euos25 import read_sheet
from milbench.data.euos25_files import SOURCE, find_sheets
from milbench.data.scoring import by_molecule
from milbench.data.tables import Table
from milbench.errors import DataError
from milbench.tasks import EUOS25

SUBMISSION = dict(
    zip(EUOS25.names, ("Transmittance(340)", "Transmittance(450)", "Fluorescence(340/450)", "Fluorescence(>480)"))
)
"""Column of each endpoint in a submission, as in the challenge's leaderboard file."""


def submission(predictions: Table, test_ids: np.ndarray, *, with_ids: bool = False) -> pd.DataFrame:
    """The challenge's upload: one row a test molecule in the test file's order, one column an endpoint, probabilities.

    predictions: ID and `pred_<endpoint>` (or `<endpoint>`); test_ids [n]. Row order is what identifies a molecule; `with_ids`
    keeps the ID as first column for your own use. A molecule without a prediction, with two, or with one that is no probability
    is a DataError.
    """
    ids, given = by_molecule(predictions, [(f"pred_{name}", name) for name in SUBMISSION])
    rows = pd.Index(ids).get_indexer(pd.Index(test_ids))
    if (rows < 0).any():
        what = f"{int((rows < 0).sum())} test molecules have no prediction"
        raise DataError(predictions.source, what, got=f"no ID {test_ids[int(np.argmax(rows < 0))]}", do="predict all of them")
    values = given[rows]
    wrong = np.argwhere(~((values >= 0) & (values <= 1)))
    if len(wrong):
        row, t = (int(place) for place in wrong[0])
        column, got = f"pred_{EUOS25.names[t]}", float(values[row, t])
        raise DataError(predictions.source, f"ID {test_ids[row]}", column=column, got=got, want="a probability, 0 to 1")
    out = {"ID": test_ids} if with_ids else {}
    return pd.DataFrame(out | {column: values[:, t] for t, column in enumerate(SUBMISSION.values())})


def submission_order(folder: str | Path) -> np.ndarray:
    """The IDs of the challenge's test file [n], as text, in its order: the order of a submission."""
    sheet = find_sheets(folder).test
    if sheet is None:
        raise DataError(folder, "has no test file (ID, SMILES)", do=SOURCE)
    return read_sheet(sheet)[1]
