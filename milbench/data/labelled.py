"""Molecules and their labels without features, from a labels table or a bag store: what folds and the doctor look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.columns import Columns
from milbench.data.manifest import store_tasks
from milbench.data.tables import Report, Table, read_table
from milbench.errors import DataError
from milbench.tasks import MAX_TASKS, TaskSet

SMILES_COLUMNS = ("curated_SMILES", "smiles", "SMILES")


@dataclass(frozen=True)
class Labelled:
    """M molecules: ids [M] text, y [M, T] 0/1/NaN float64, names of T tasks, split [M] text; `table` has all columns.

    `smiles_col`: which of them has the SMILES; None where there are none.
    """

    table: Table
    ids: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]
    split: np.ndarray
    smiles_col: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def source(self) -> str:
        """Where it was read from."""
        return self.table.source

    @property
    def smiles(self) -> np.ndarray | None:
        """SMILES [M] as text ('' where empty), or None without such a column."""
        return None if self.smiles_col is None else self.cells(self.smiles_col)

    def cells(self, column: str) -> np.ndarray:
        """A column as text [M], '' where empty; whole floats without '.0'."""
        self.table.require(column)
        values = self.table.column(column).to_pandas()
        if pd.api.types.is_float_dtype(values):
            return np.array(["" if np.isnan(value) else f"{value:g}" for value in values], dtype=object)
        return np.array(["" if pd.isna(value) else str(value).strip() for value in values], dtype=object)

    def take(self, rows: np.ndarray) -> "Labelled":
        """These molecules."""
        return Labelled(self.table.take(rows), self.ids[rows], self.y[rows], self.names, self.split[rows], self.smiles_col)


def smiles_column(table: Table, wanted: str | None = None) -> str | None:
    """The column of SMILES: the one `wanted`, which must be there, else the first of the usual ones, None without any."""
    if wanted:
        table.require(wanted)
    return wanted or next((name for name in SMILES_COLUMNS if name in table.names), None)


def label_column(table: Table, column: str, do: str = "") -> np.ndarray:
    """A label column as float64 [n]: 0, 1, NaN where empty; else a DataError that names the row and says what to `do`."""
    values = table.numbers(column)
    wrong = np.flatnonzero(~np.isnan(values) & (values != 0) & (values != 1))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(table.source, row=table.row(row), column=column, got=float(values[row]), want="0, 1 or empty", do=do)
    return values


def endpoint_columns(table: Table, tasks: TaskSet, columns: Columns | None = None) -> tuple[str, ...]:
    """Columns that look like endpoints (0, 1 or empty, and both of 0 and 1) where none of the task set's own is there.

    () where one is there, or where there are more than a task set may have: those are features.
    """
    if any(endpoint.label in table.names for endpoint in tasks.endpoints):
        return ()
    never = {*(columns or Columns()).reserved, *tasks.target_columns, *SMILES_COLUMNS, "plate", "well"}
    found = tuple(name for name in table.names if name not in never and _is_binary(table.column(name).to_pandas()))
    return found if len(found) <= MAX_TASKS else ()


def _is_binary(values: pd.Series) -> bool:
    known = values.dropna()
    return pd.api.types.is_numeric_dtype(known) and set(known.unique()) == {0, 1}


def require_endpoints(table: Table, tasks: TaskSet, columns: Columns | None = None) -> None:
    """A DataError where none of the task set's columns is there but others look like endpoints: it names them."""
    found = endpoint_columns(table, tasks, columns)
    if found:
        do = f"columns that look like endpoints: {', '.join(found)}; declare yours in a file and give --tasks FILE.toml"
        raise DataError(table.source, f"column {tasks.endpoints[0].label!r} is missing", do=do)


def read_labelled(path: str | Path, tasks: TaskSet, columns: Columns | None = None) -> Labelled:
    """Read a labels table (.csv, .parquet), or a bag store, whose own tasks then count; split as in `splits`."""
    columns = columns or Columns()
    if Path(path).is_dir():
        tasks, columns = store_tasks(path), Columns()
        table, labels = read_table(Path(path) / "molecules.parquet"), tasks.names
    else:
        table = read_table(path, (columns.id, columns.split, columns.smiles or "", *SMILES_COLUMNS, "plate", "well"))
        require_endpoints(table, tasks, columns)
        labels = tuple(endpoint.label for endpoint in tasks.endpoints)
    return labelled(table, labels, tasks.names, columns)


def labelled(table: Table, labels: Sequence[str], names: tuple[str, ...], columns: Columns) -> Labelled:
    """The molecules of a table whose columns `labels` are those of the tasks `names`."""
    y = np.stack([label_column(table, column) for column in labels], axis=1)
    split = splits(table, columns.split, Report())
    ids = table.text(columns.id).astype(object)
    return Labelled(table, ids, y, names, split, smiles_column(table, columns.smiles))


def splits(table: Table, column: str, report: Report) -> np.ndarray:
    """The split of each molecule, text [n]: all are train, as the report then says, where no column has the default name.

    A column of another name was asked for: a DataError when it is not there.
    """
    if column == Columns.split and column not in table.names:
        report.say(f"{table.source}: no {column} column, all molecules are train")
        return np.full(len(table), "train", dtype=object)
    return table.text(column).astype(object)
