"""Groups of molecules that stand in a table of their own, such as the plates of a screen."""

from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.tables import open_table
from milbench.errors import DataError


def groups_of(path: Path, column: str, ids: np.ndarray) -> np.ndarray:
    """The group of each molecule `ids` [n] by a column of the table `path`, as text [n]; "" where it does not say."""
    table = open_table(path, ("ID", column))
    table.require(column)
    own = table.ids("ID")
    cells = table.column(column).to_pandas()
    values = np.array(["" if pd.isna(value) else str(value).strip() for value in cells], dtype=object)
    rows = pd.Index(own).get_indexer(pd.Index(ids))
    if (rows < 0).all():
        raise DataError(path, "shares no ID with the molecules", got=str(own[0]), want=f"IDs like {ids[0]!r}")
    return np.where(rows >= 0, values[rows], "")
