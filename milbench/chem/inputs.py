"""Molecules as users bring them (.csv, .parquet, .smi, .sdf), read as a stream of small tables."""

from collections.abc import Callable, Iterator
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from milbench.data.labelled import SMILES_COLUMNS, smiles_column
from milbench.data.tables import Table
from milbench.errors import DataError
from milbench.prepare_config import PrepareConfig
from milbench.tasks import TaskSet

ID, STRUCTURE = "ID", "structure"
_ROWS = 4096


def read_rows(config: PrepareConfig, tasks: TaskSet) -> Iterator[pa.Table]:
    """Tables of at most 4096 rows: ID and structure as text, then the target, split and fold columns that there are.

    A structure is a SMILES string, or the .sdf records of one molecule. A row without ID and structure stands for an empty
    line. Rows keep their order, so the n-th of all tables is row n of the file. An unreadable file is a DataError.
    """
    wanted = [*tasks.target_columns, config.split_col, config.fold_col]
    reader = {".csv": _tabular, ".parquet": _tabular, ".smi": _smi, ".sdf": _sdf}[config.source.suffix]
    try:
        start = 0
        for table in reader(config, wanted):
            yield _with_ids(table, config, start)
            start += len(table)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            config.source, f"cannot be read as {config.source.suffix[1:]} ({reason})", do="check the file"
        ) from error


def _with_ids(table: pa.Table, config: PrepareConfig, start: int) -> pa.Table:
    """The table with IDs and structures as text; a structure without ID is a DataError."""
    structure = _texts(table[STRUCTURE])
    there = np.flatnonzero([bool(one.strip() or other.strip()) for one, other in zip(_texts(table[ID]), structure)])
    ids = np.full(len(table), "", dtype=object)
    if len(there):
        rows = Table.of(str(config.source), table.select([ID]).take(there).rename_columns([config.id_col]), start + there)
        ids[there] = rows.text(config.id_col)
    table = table.set_column(table.column_names.index(ID), ID, pa.array(ids, pa.string()))
    return table.set_column(table.column_names.index(STRUCTURE), STRUCTURE, pa.array(structure, pa.string()))


def _texts(column: pa.ChunkedArray) -> list[str]:
    return [value or "" for value in column.cast(pa.string()).to_pylist()]


def _tabular(config: PrepareConfig, wanted: list[str]) -> Iterator[pa.Table]:
    batches, names = _open_csv(config.source) if config.source.suffix == ".csv" else _open_parquet(config.source)
    header = Table.of(str(config.source), pa.table({name: [] for name in names}))
    header.require(config.id_col)
    smiles = smiles_column(header, config.smiles_col) or SMILES_COLUMNS[-1]
    header.require(smiles)
    kept = [name for name in dict.fromkeys(wanted) if name in names]
    for batch in batches([config.id_col, smiles, *kept]):
        table = pa.Table.from_batches([batch]).select([config.id_col, smiles, *kept])
        for start in range(0, len(table), _ROWS):
            yield table.slice(start, _ROWS).rename_columns([ID, STRUCTURE, *kept])


Batches = Callable[[list[str]], Iterator[pa.RecordBatch]]


def _open_csv(path: Path) -> tuple[Batches, list[str]]:
    """Every column as text; an empty line is a row of empty cells."""
    parse = pacsv.ParseOptions(ignore_empty_lines=False)
    names = pacsv.open_csv(path, parse_options=parse).schema.names

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        types = dict.fromkeys(columns, pa.string())
        convert = pacsv.ConvertOptions(column_types=types, include_columns=columns, strings_can_be_null=False)
        yield from pacsv.open_csv(path, parse_options=parse, convert_options=convert)

    return batches, names


def _open_parquet(path: Path) -> tuple[Batches, list[str]]:
    file = pq.ParquetFile(path)
    return lambda columns: file.iter_batches(_ROWS, columns=columns), file.schema_arrow.names


def _smi(config: PrepareConfig, wanted: list[str]) -> Iterator[pa.Table]:
    """SMILES and a name on each line; without a name the ID is the number of the line."""
    with config.source.open(encoding="utf-8") as file:
        rows = (_smi_row(line, number) for number, line in enumerate(file, start=1))
        yield from _tables(rows, [ID, STRUCTURE])


def _smi_row(line: str, number: int) -> dict[str, str]:
    smiles, *name = line.split(maxsplit=1) or [""]
    return {ID: name[0].strip() if name else str(number), STRUCTURE: smiles}


def _sdf(config: PrepareConfig, wanted: list[str]) -> Iterator[pa.Table]:
    """One row a run of records with the same name; the properties are those of its first record."""
    with config.source.open(encoding="utf-8") as file:
        yield from _tables(_sdf_rows(file, config.id_col), [ID, STRUCTURE, *dict.fromkeys(wanted)])


def _sdf_rows(lines: Iterator[str], id_col: str) -> Iterator[dict[str, str]]:
    records = ((_sdf_name(text, properties, id_col), text, properties) for text, properties in _sdf_records(lines))
    named = ((name or f"record {n}", text, properties) for n, (name, text, properties) in enumerate(records, start=1))
    for name, run in groupby(named, key=lambda record: record[0]):
        first = next(run)
        yield {**first[2], ID: name, STRUCTURE: "".join(text for _, text, _ in chain([first], run))}


def _sdf_name(text: str, properties: dict[str, str], id_col: str) -> str:
    return properties.get(id_col, "").strip() or text.partition("\n")[0].strip()


def _sdf_records(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The mol block of each record, ended by $$$$, and its properties."""
    block, properties, name, in_block = [], {}, "", True
    for line in lines:
        if line.startswith("$$$$"):
            yield "".join([*block, "$$$$\n"]), properties
            block, properties, name, in_block = [], {}, "", True
        elif in_block:
            block.append(line)
            in_block = not line.startswith("M  END")
        elif line.startswith(">"):
            name = line[line.find("<") + 1 : line.rfind(">")]
            properties[name] = ""
        elif line.strip():
            properties[name] = "\n".join([*filter(None, [properties.get(name)]), line.rstrip()])
    if any(line.strip() for line in block):  # the last record was not ended
        yield "".join([*block, "$$$$\n"]), properties


def _tables(rows: Iterator[dict[str, str]], names: list[str]) -> Iterator[pa.Table]:
    """Rows as tables; a column that no row of the file has stays a column of empty cells."""
    batch: list[dict[str, str]] = []
    schema = pa.schema([(name, pa.string()) for name in names])
    for row in rows:
        batch.append(row)
        if len(batch) == 256:
            yield pa.Table.from_pylist(batch, schema)
            batch = []
    if batch:
        yield pa.Table.from_pylist(batch, schema)
