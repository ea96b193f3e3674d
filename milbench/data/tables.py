"""One table from a file: identifiers as text, features as float32, the exact place of whatever is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from milbench.errors import DataError
from milbench.registry import did_you_mean

NO_ERROR = frozenset({"", "0", "false"})
STATUS_OK = frozenset({"ok", "success", "0", "1", "true"})
_MISSING = {value.lower() for value in pacsv.ConvertOptions().null_values}
"""What counts as empty in a numeric column, whether or not text stands elsewhere in it."""

pc: Any = pyarrow.compute
"""Its functions are made at import, where type checkers cannot see them."""


@dataclass
class Report:
    """What was dropped, averaged, imputed or left out on the way, in words; said once and kept with the data."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Add one line."""
        self.lines.append(line)


@dataclass(frozen=True)
class Table:
    """A table with its source, so that every complaint can name file, row and column.

    `rows` [n]: the places in the source of the rows that were kept; None while it is whole.
    """

    source: str
    data: pa.Table
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return self.data.num_rows

    def row(self, place: int) -> int:
        """The number in the source (1-based, without the header) of the row at `place`."""
        return int(place if self.rows is None else self.rows[place]) + 1

    @property
    def names(self) -> list[str]:
        """Column names."""
        return self.data.column_names

    def require(self, column: str) -> None:
        """A DataError when `column` is not there."""
        if self.data.schema.get_field_index(column) < 0:
            do = did_you_mean(column, self.names) or f"it has {', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''}"
            raise DataError(self.source, f"column {column!r} is missing", do=do)

    def text(self, column: str) -> np.ndarray:
        """An identifier column as text [n]; an empty cell is a DataError. 7.0 written by a float column is '7'."""
        self.require(column)
        values = self.data[column].combine_chunks()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_floating(values.type):
            whole = pc.equal(values, pc.floor(values))
            if not pc.all(pc.fill_null(whole, True)).as_py():
                row = int(np.argmin(pc.fill_null(whole, True).to_numpy(zero_copy_only=False)))
                got = values[row].as_py()
                raise DataError(self.source, row=self.row(row), column=column, got=got, want="text or whole numbers")
            values = pc.cast(values, pa.int64())
        values = pc.cast(values, pa.string())
        empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(values), ""), True)
        if pc.any(empty).as_py():
            row = int(np.argmax(empty.to_numpy(zero_copy_only=False)))
            raise DataError(self.source, "is empty", row=self.row(row), column=column, do="give every row an identifier")
        return values.to_numpy(zero_copy_only=False)

    def numbers(self, column: str) -> np.ndarray:
        """A numeric column as float64 [n], missing as NaN; text in it is a DataError that names the row."""
        self.require(column)
        values = self.data[column].combine_chunks()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_null(values.type):
            return np.full(len(self), np.nan)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            return self._parsed(column, values)
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)):
            raise DataError(self.source, "is not numeric", column=column, got=str(values.type), want="numbers")
        return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)

    def _parsed(self, column: str, values: pa.Array) -> np.ndarray:
        texts: pd.Series = values.to_pandas()
        parsed = np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=np.float64)
        wrong = np.flatnonzero(np.isnan(parsed) & texts.notna() & ~texts.fillna("").str.strip().str.lower().isin(_MISSING))
        if wrong.size:
            row = int(wrong[0])
            raise DataError(self.source, row=self.row(row), column=column, got=texts[row], want="a number")
        return parsed

    def feature_names(self, not_features: frozenset[str]) -> list[str]:
        """The columns that are features; none at all is a DataError."""
        names = [name for name in self.names if name not in not_features]
        if not names:
            raise DataError(self.source, "has no feature column", do=f"it has {', '.join(self.names)}")
        return names

    def features(self, names: Sequence[str], *, allow_missing: bool = False) -> np.ndarray:
        """Feature columns as float32 [n, F]; NaN, inf or too large for float32 is a DataError unless `allow_missing`."""
        out = np.empty((len(self), len(names)), dtype=np.float32)
        for j, name in enumerate(names):
            values = self.numbers(name)
            with np.errstate(over="ignore"):
                out[:, j] = values
            bad = ~np.isfinite(out[:, j])
            if bad.any() and not allow_missing:
                row = int(np.argmax(bad))
                want, do = "a finite float32", "mend the table, or impute with the training fold's median (--impute median)"
                raise DataError(self.source, row=self.row(row), column=name, got=float(values[row]), want=want, do=do)
        return out

    def take(self, rows: np.ndarray) -> "Table":
        """These rows."""
        return Table(self.source, self.data.take(pa.array(rows)), rows if self.rows is None else self.rows[rows])


def read_table(path: str | Path, text_columns: Sequence[str] = ()) -> Table:
    """Read .csv or .parquet, chosen by suffix; `text_columns` are read as text ('007' stays '007')."""
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "no such file", do="check the path")
    if path.suffix not in {".csv", ".parquet"}:
        raise DataError(path, "unknown table format", got=path.suffix, want=".parquet or .csv")
    try:
        data = pq.read_table(path) if path.suffix == ".parquet" else _read_csv(path, text_columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(path, f"cannot be read as {path.suffix[1:]} ({' '.join(str(error).split())})") from error
    return _checked(str(path), data)


def from_frame(frame: pd.DataFrame, source: str) -> Table:
    """A pandas data frame as a Table; `source` names it in error messages."""
    try:
        return _checked(source, pa.Table.from_pandas(frame, preserve_index=False))
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise DataError(source, f"cannot be read ({' '.join(map(str, error.args))})") from error


def _read_csv(path: Path, text_columns: Sequence[str]) -> pa.Table:
    types = dict.fromkeys(text_columns, pa.string())
    return pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=types, strings_can_be_null=False))


def _checked(source: str, data: pa.Table) -> Table:
    names = data.column_names
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise DataError(source, "column appears twice", column=repeated[0], do="rename one")
    if not data.num_rows:
        raise DataError(source, "has no rows")
    return Table(source, data)


def usable_rows(table: Table, report: Report) -> Table:
    """Drop rows whose `error` is set or whose `status` is not ok/success/0/1/true, with a count (QM tables)."""
    keep = np.ones(len(table), dtype=bool)
    if "error" in table.names:
        keep &= _is_one_of(table, "error", NO_ERROR)
    if "status" in table.names:
        keep &= _is_one_of(table, "status", STATUS_OK)
    dropped = int((~keep).sum())
    if dropped:
        report.say(f"{table.source}: {dropped} of {len(table)} rows dropped (error set, or status not ok)")
    return table if keep.all() else table.take(np.flatnonzero(keep))


def _is_one_of(table: Table, column: str, allowed: frozenset[str]) -> np.ndarray:
    """Whether each cell is among `allowed`, as trimmed lower-case text ('' where missing, whole floats without '.0')."""
    place, cells = pd.factorize(table.data[column].to_pandas())
    found = [(f"{v:g}" if isinstance(v, float | np.floating) else str(v).strip().lower()) in allowed for v in cells]
    return np.array([*found, "" in allowed], dtype=bool)[place]  # a missing cell's place is -1
