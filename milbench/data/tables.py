"""One table from a file: identifiers as text, features as float32, the exact place of whatever is wrong."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
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

    `read` gives columns by name, from memory or from an open file; `size`: how many rows. `rows` [n]: the places in the
    source of the rows that were kept; None while it is whole.
    """

    source: str
    names: tuple[str, ...]
    size: int
    read: Callable[[Sequence[str]], pa.Table]
    rows: np.ndarray | None = None

    @classmethod
    def of(cls, source: str, data: pa.Table, rows: np.ndarray | None = None) -> "Table":
        """A table in memory."""
        return cls(source, tuple(data.column_names), data.num_rows, lambda names: data.select(list(names)), rows)

    def __len__(self) -> int:
        return self.size

    def row(self, place: int) -> int:
        """The number in the source (1-based, without the header) of the row at `place`."""
        return int(place if self.rows is None else self.rows[place]) + 1

    def column(self, name: str) -> pa.ChunkedArray:
        """One column as it is; a DataError when it is not there."""
        self.require(name)
        return self.read([name]).column(0)

    def frame(self) -> pd.DataFrame:
        """All columns as a data frame."""
        return self.read(self.names).to_pandas()

    def require(self, column: str) -> None:
        """A DataError when `column` is not there."""
        if column not in self.names:
            do = did_you_mean(column, self.names) or f"it has {', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''}"
            raise DataError(self.source, f"column {column!r} is missing", do=do)

    def text(self, column: str) -> np.ndarray:
        """A column that every row needs, an an ID or split, as text [n]; an empty cell is a DataError. A float 7.0 is '7'."""
        return self.arrow_text(column).to_numpy(zero_copy_only=False)

    def ids(self, column: str, *, trimmed: bool = False, do: str = "keep one row a molecule") -> np.ndarray:
        """The same, `trimmed` of blanks at its ends if asked for; an ID that appears twice is a DataError with what to `do`."""
        ids = self.text(column)
        if trimmed:
            ids = np.char.strip(ids.astype(str)).astype(object)
        repeated = np.flatnonzero(pd.Series(ids).duplicated())
        if repeated.size:
            row = int(repeated[0])
            raise DataError(self.source, "ID appears twice", row=self.row(row), column=column, got=ids[row], do=do)
        return ids

    def arrow_text(self, column: str) -> pa.StringArray:
        """`text` as an arrow array, which takes less memory."""
        values = _plain(self.column(column))
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
            raise DataError(self.source, "is empty", row=self.row(row), column=column, do=f"give every row its {column}")
        return values

    def numbers(self, column: str) -> np.ndarray:
        """A numeric column as float64 [n], missing as NaN; text in it is a DataError that names the row."""
        return self._numbers(column, _plain(self.column(column)))

    def _numbers(self, column: str, values: pa.Array) -> np.ndarray:
        if pa.types.is_null(values.type):
            return np.full(len(self), np.nan)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            return self._parsed(column, values)
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)):
            raise DataError(self.source, "is not numeric", column=column, got=str(values.type), want="numbers")
        return np.asarray(pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)

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
        for some in blocks_of(len(names)):
            out[:, some] = self.block(names[some], allow_missing=allow_missing).T
        return out

    def block(self, names: Sequence[str], *, allow_missing: bool) -> np.ndarray:
        """The same a row a feature, float32 [F, n]; one column at a time is in memory beside it."""
        out = np.empty((len(names), len(self)), dtype=np.float32)
        for place, name in zip(out, names, strict=True):
            place[:] = self._feature(name, allow_missing)
        return out

    def _feature(self, name: str, allow_missing: bool) -> np.ndarray:
        values = _plain(self.column(name))
        ready = pa.types.is_float32(values.type)
        numbers = values.to_numpy(zero_copy_only=False) if ready else self._numbers(name, values)
        with np.errstate(over="ignore"):
            feature = numbers.astype(np.float32, copy=False)
        finite = np.isfinite(feature)
        if not (allow_missing or finite.all()):
            row = int(np.argmin(finite))
            want, do = "a finite float32", "mend the table, or impute with the training fold's median (--impute median)"
            raise DataError(self.source, row=self.row(row), column=name, got=float(numbers[row]), want=want, do=do)
        return feature

    def take(self, rows: np.ndarray) -> "Table":
        """These rows."""
        if np.array_equal(rows, np.arange(len(self))):
            return self
        there, wanted = rows if self.rows is None else self.rows[rows], pa.array(rows)
        return Table(self.source, self.names, len(rows), lambda names: self.read(names).take(wanted), there)


def blocks_of(features: int) -> list[slice]:
    """So many feature columns in blocks of 16: a cache line of float32 in each row of the matrix they are written to."""
    return [slice(start, start + 16) for start in range(0, features, 16)]


def _plain(values: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, without a dictionary."""
    whole: Any = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def read_table(path: str | Path, text_columns: Sequence[str] = ()) -> Table:
    """Read .csv or .parquet, chosen by suffix; `text_columns` are read as text ('007' stays '007')."""
    table = open_table(path, text_columns)
    return Table.of(table.source, table.read(table.names))


def open_table(path: str | Path, text_columns: Sequence[str] = ()) -> Table:
    """The same, but the columns of a .parquet file are read when they are asked for, and not kept."""
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "no such file", do="check the path")
    if path.suffix not in {".csv", ".parquet"}:
        raise DataError(path, "unknown table format", got=path.suffix, want=".parquet or .csv")
    with _readable(path):
        if path.suffix == ".csv":
            return _checked(Table.of(str(path), _read_csv(path, text_columns)))
        file = pq.ParquetFile(path)
    return _checked(Table(str(path), tuple(file.schema_arrow.names), file.metadata.num_rows, partial(_columns, path, file)))


def _columns(path: Path, file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    with _readable(path):
        return file.read(columns=list(names), use_threads=len(names) > 1).select(list(names))  # a name "a" also reads "a.b"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(path, f"cannot be read as {path.suffix[1:]} ({' '.join(str(error).split())})") from error


def from_frame(frame: pd.DataFrame, source: str) -> Table:
    """A pandas data frame as a Table; `source` names it in error messages."""
    try:
        return _checked(Table.of(source, pa.Table.from_pandas(frame, preserve_index=False)))
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise DataError(source, f"cannot be read ({' '.join(map(str, error.args))})") from error


def _read_csv(path: Path, text_columns: Sequence[str]) -> pa.Table:
    types = dict.fromkeys(text_columns, pa.string())
    return pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=types, strings_can_be_null=False))


def _checked(table: Table) -> Table:
    repeated = [name for name in table.names if table.names.count(name) > 1]
    if repeated:
        raise DataError(table.source, "column appears twice", column=repeated[0], do="rename one")
    if not len(table):
        raise DataError(table.source, "has no rows")
    return table


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
    return table.take(np.flatnonzero(keep))


def _is_one_of(table: Table, column: str, allowed: frozenset[str]) -> np.ndarray:
    """Whether each cell is among `allowed`, as trimmed lower-case text ('' where missing, whole floats without '.0')."""
    place, cells = pd.factorize(table.column(column).to_pandas())
    found = [(f"{v:g}" if isinstance(v, float | np.floating) else str(v).strip().lower()) in allowed for v in cells]
    return np.array([*found, "" in allowed], dtype=bool)[place]  # a missing cell's place is -1
