"""The EUOS25 challenge's submission format.

The published files do not state it; what was taken is known from several teams' uploads and from the leaderboard file: a CSV of
four probability columns, one row a test molecule in the test file's order, no ID. The names are those of the leaderboard file.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.euos25 import read_sheet
from milbench.data.euos25_files import SOURCE, find_sheets
from milbench.errors import DataError
from milbench.tasks import EUOS25

SUBMISSION = dict(
    zip(EUOS25.names, ("Transmittance(340)", "Transmittance(450)", "Fluorescence(340/450)", "Fluorescence(>480)"))
)
"""Column of each endpoint in a submission, as in the challenge's leaderboard file."""


def submission(predictions: pd.DataFrame, test_ids: np.ndarray, *, with_ids: bool = False) -> pd.DataFrame:
    """The challenge's upload: one row a test molecule in the test file's order, one column an endpoint, probabilities.

    predictions: ID and `pred_<endpoint>` (or `<endpoint>`); test_ids [n]. The challenge reads the columns of its leaderboard
    file without the ID, so row order is what identifies a molecule; `with_ids` keeps it as first column for your own use.
    A molecule without a prediction, or one that is no probability, is a DataError.
    """
    by_id = predictions.assign(ID=predictions["ID"].astype(str)).drop_duplicates("ID").set_index("ID")
    rows = by_id.index.get_indexer(pd.Index(test_ids))
    if (rows < 0).any():
        lacking = test_ids[int(np.argmax(rows < 0))]
        raise DataError(
            "predictions", f"{int((rows < 0).sum())} test molecules have none", got=f"no ID {lacking}", do="predict them"
        )
    out: dict[str, np.ndarray] = {"ID": test_ids} if with_ids else {}
    for name, column in SUBMISSION.items():
        given = next((c for c in (f"pred_{name}", name) if c in by_id), None)
        if given is None:
            raise DataError("predictions", f"column 'pred_{name}' is missing", do="one column for each endpoint")
        values = by_id[given].to_numpy(np.float64)[rows]
        wrong = ~((values >= 0) & (values <= 1))
        if wrong.any():
            bad = int(np.argmax(wrong))
            raise DataError(
                "predictions", f"ID {test_ids[bad]}", column=given, got=float(values[bad]), want="a probability, 0 to 1"
            )
        out[column] = values
    return pd.DataFrame(out)


def test_ids_of(folder: str | Path) -> np.ndarray:
    """The IDs of the challenge's test file [n], as text, in its order: the order of a submission."""
    sheet = find_sheets(folder).test
    if sheet is None:
        raise DataError(folder, "has no test file (ID, SMILES)", do=SOURCE)
    return read_sheet(sheet)[1]
