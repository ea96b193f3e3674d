"""The folder of unfinished work beside a store: what was asked for, the input in shards, and the shards that are finished."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rdkit

from milbench.chem.inputs import STRUCTURE, read_rows
from milbench.data.assemble import fold_numbers
from milbench.data.labelled import splits
from milbench.data.manifest import find_model, read_columns
from milbench.data.tables import Report, Table
from milbench.data.targets import RawTargets, read_targets
from milbench.errors import DataError
from milbench.files import atomic_path, file_hash, make_folder, read_json, write_json
from milbench.prepare_config import PrepareConfig
from milbench.rerun import read_back, refuse_other
from milbench.tasks import TaskSet
from milbench.version import __version__


@dataclass(frozen=True)
class Work:
    """The work folder: plan.json, rows.parquet (every row but its structure), inputs/00000.parquet …, shards/00000/ …"""

    folder: Path
    n_rows: int
    n_shards: int

    def input(self, index: int) -> Path:
        """The ID and structure of a shard's rows."""
        return self.folder / "inputs" / f"{index:05d}.parquet"

    def shard(self, index: int) -> Path:
        """A finished shard; it is there whole, or not at all."""
        return self.folder / "shards" / f"{index:05d}"

    @property
    def unfinished(self) -> list[int]:
        """The shards that are still to be computed."""
        there = {
            path.name for path in (self.folder / "shards").iterdir()
        }  # a listing is fresh on a network drive, a stat may not be
        return [index for index in range(self.n_shards) if self.shard(index).name not in there]


def asked(config: PrepareConfig, tasks: TaskSet) -> dict[str, Any]:
    """What decides the store's content: settings, task set, the input's hash, versions. Plain JSON types."""
    return {
        "made_by": "milbench prepare",
        "input": {"name": config.source.name, "sha256": file_hash(config.source)},
        "settings": config.settings(),
        "tasks": read_back(tasks.to_dict()),
        "like": None if config.like is None else read_columns(config.like)["content"],
        "versions": {"milbench": __version__, "rdkit": rdkit.__version__, "numpy": np.__version__},
    }


def open_work(config: PrepareConfig, tasks: TaskSet, wanted: dict[str, Any]) -> Work:
    """Plan the work, or find it planned; work of other settings or another input is a ConfigError that says what differs."""
    path = config.work / "plan.json"
    if path.is_file():
        plan = read_json(path)
        refuse_other(config.work, plan["asked"], wanted)
    else:
        n_rows, n_shards = _write_inputs(config, tasks)
        plan = {"asked": wanted, "rows": n_rows, "shards": n_shards}
        work = Work(config.work, n_rows, n_shards)
        read_labels(config, tasks, work, None)
        write_json(path, plan)
    return Work(config.work, plan["rows"], plan["shards"])


def _write_inputs(config: PrepareConfig, tasks: TaskSet) -> tuple[int, int]:
    """Cut the input into shards of structures, and put everything else into rows.parquet; gives rows and shards."""
    for name in ("inputs", "shards"):
        shutil.rmtree(config.work / name, ignore_errors=True)
        make_folder(config.work / name)
    work = Work(config.work, 0, 0)
    waiting: list[pa.Table] = []
    n_rows = n_shards = 0
    with atomic_path(work.folder / "rows.parquet") as partial:
        writer = None
        for table in read_rows(config, tasks):
            rest = table.drop_columns([STRUCTURE])
            writer = writer or pq.ParquetWriter(partial, rest.schema)
            writer.write_table(rest)
            n_rows += len(table)
            waiting.append(table.select(["ID", STRUCTURE]))
            while sum(map(len, waiting)) >= config.shard_size:
                whole = pa.concat_tables(waiting)
                _write_input(work, n_shards, whole.slice(0, config.shard_size))
                waiting, n_shards = [whole.slice(config.shard_size)], n_shards + 1
        if writer is None:
            raise DataError(config.source, "has no rows")
        writer.close()
    if sum(map(len, waiting)):
        _write_input(work, n_shards, pa.concat_tables(waiting))
        n_shards += 1
    return n_rows, n_shards


def _write_input(work: Work, index: int, table: pa.Table) -> None:
    with atomic_path(work.input(index)) as partial:
        pq.write_table(table, partial, compression="zstd")


@dataclass(frozen=True)
class Labels:
    """Targets, split [m] and fold [m] of some rows of the input, and what was said about them."""

    raw: RawTargets
    split: np.ndarray
    fold: np.ndarray
    notes: list[str]

    def take(self, rows: slice) -> "Labels":
        """Those of a stretch of the rows."""
        return Labels(self.raw.take(np.arange(rows.start, rows.stop)), self.split[rows], self.fold[rows], self.notes)


def read_labels(config: PrepareConfig, tasks: TaskSet, work: Work, rows: np.ndarray | None) -> Labels:
    """Labels, weights, auxiliaries, split and fold of the input's `rows` (None: all but empty lines).

    They are read and refused as `load_tables` does, but without any label column all labels are missing, and so are those of
    absent columns where molecules are described for a model to predict; a note says so.
    """
    data = pq.read_table(work.folder / "rows.parquet")
    if config.sdf:  # a property that no record has is no column
        data = data.select([name for name in data.column_names if data[name].null_count < len(data)])
    notes = Report()
    labels = list(dict.fromkeys(endpoint.label for endpoint in tasks.endpoints))
    absent = [label for label in labels if label not in data.column_names]
    if absent == labels:
        notes.say(f"{config.source}: has no label column; all labels are missing, the store is for prediction")
    elif absent and config.like is not None and find_model(config.like) is not None:
        notes.say(f"{config.source}: no column for {', '.join(absent)}; these labels are all missing")
    else:
        absent = []  # one of them is then refused by name
    for label in absent:
        data = data.append_column(label, pa.nulls(len(data), pa.float64()))
    if rows is None:
        rows = np.flatnonzero([bool(one) for one in data["ID"].to_pylist()])
    table = Table.of(str(config.source), data).take(rows)
    raw = read_targets(table, tasks, config.labels_missing, notes)
    return Labels(raw, splits(table, config.split_col, notes), fold_numbers(table, config.fold_col), notes.lines)
