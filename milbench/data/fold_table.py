"""Folds from a table of their own, as `milbench folds` writes it."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.columns import Columns
from milbench.data.assemble import fold_numbers
from milbench.data.bags import BagData
from milbench.data.tables import open_table
from milbench.errors import DataError


def with_folds(bags: BagData, path: Path | None, columns: Columns) -> BagData:
    """The molecules with the folds of the table `path` (None: with their own); those that it does not name have none."""
    if path is None:
        return bags
    table = open_table(path, (columns.id,))
    table.require(columns.fold)
    ids = table.ids(columns.id)
    rows = pd.Index(ids).get_indexer(pd.Index(bags.ids))
    if (rows < 0).all():
        raise DataError(path, "shares no ID with the data", got=str(ids[0]), want=f"IDs like {bags.ids[0]!r}")
    fold = np.where(rows >= 0, fold_numbers(table, columns.fold)[rows], -1)
    if (fold < 0).all():
        raise DataError(path, "gives no molecule of the data a fold", column=columns.fold, do="name another column or table")
    note = f"folds: column {columns.fold} of {path.name}"
    return dataclasses.replace(bags, fold=fold.astype(np.int64), notes=(*bags.notes, note))
