"""A first look at what a user brings (.csv, .parquet, .smi, .sdf) or at a store: molecules, labels, bags. Loads no torch."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from milbench.chem.inputs import ID, STRUCTURE, read_rows
from milbench.chem.molecules import unreadable
from milbench.chem.sdf import read_records
from milbench.data.labelled import SMILES_COLUMNS, endpoint_columns, label_column
from milbench.data.manifest import read_manifest, read_parquet
from milbench.data.recent import recent
from milbench.data.tables import Table, read_table
from milbench.errors import DataError
from milbench.files import read_array
from milbench.plural import plural
from milbench.prepare_config import PrepareConfig
from milbench.tasks import TaskSet

SDF_MOLECULES = 2000
"""Molecules of an .sdf that are looked at: coordinates are long to read."""
PARSED = 1000
"""SMILES that are tried; all of them are when a data set is examined or prepared."""


@dataclass(frozen=True, eq=False)
class Look:
    """What stands in a source. molecules [M rows]: ID, smiles, split, the endpoints that there are (`names`).

    y [M, T] 0/1/NaN of those T endpoints of the task set `tasks`; sizes [M] conformers of each molecule, None where none are
    made yet. `unlabelled`: a table in which none of its endpoints is a column; `suggested`: those that look like some then.
    """

    molecules: pd.DataFrame
    tasks: tuple[str, ...]
    names: tuple[str, ...]
    y: np.ndarray
    sizes: np.ndarray | None
    notes: tuple[str, ...]
    suggested: tuple[str, ...] = ()
    unlabelled: bool = False

    def __len__(self) -> int:
        return len(self.molecules)

    def prevalences(self) -> pd.DataFrame:
        """One row an endpoint: positives, negatives, missing, prevalence among the known."""
        positives, negatives = (self.y == 1).sum(axis=0), (self.y == 0).sum(axis=0)
        known = np.maximum(positives + negatives, 1)
        columns = {"positives": positives, "negatives": negatives, "missing": np.isnan(self.y).sum(axis=0)}
        return pd.DataFrame({"endpoint": list(self.names), **columns, "prevalence": positives / known})

    def patterns(self) -> list[tuple[tuple[bool, ...], int]]:
        """Which endpoints are positive together, of molecules whose labels are all known; the most frequent first."""
        known = self.y[~np.isnan(self.y).any(axis=1)] == 1
        return [(tuple(pattern), count) for pattern, count in Counter(map(tuple, known.tolist())).most_common()]


@recent("manifest.json")
def look_at(source: str | Path, tasks: TaskSet, id_col: str = "ID", smiles_col: str | None = None) -> Look:
    """Look at a file or a bag store; what cannot be read is a DataError that names file, row and column."""
    source = Path(source)
    if source.is_dir():
        return _store(source)
    if not source.exists():
        raise DataError(source, "no such file", do="check the path")
    config = PrepareConfig(source, out=source, id_col=id_col, smiles_col=smiles_col)
    tables, rows = [], 0
    for table in read_rows(config, tasks):
        tables.append(table)
        rows += len(table)
        if source.suffix == ".sdf" and rows >= SDF_MOLECULES:
            break
    if not rows:
        raise DataError(source, "has no rows")
    data = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    there = np.flatnonzero(np.char.str_len(data[ID].to_numpy().astype(str)) > 0)
    return _file(config, Table.of(str(source), data).take(there), tasks, empty=rows - len(there))


def _file(config: PrepareConfig, table: Table, tasks: TaskSet, empty: int) -> Look:
    present = [endpoint for endpoint in tasks.endpoints if endpoint.label in table.names]
    labels = [label_column(table, endpoint.label) for endpoint in present]
    absent = [endpoint.label for endpoint in tasks.endpoints if endpoint.label not in table.names]
    notes = [f"{empty} empty rows are left out"] * bool(empty)
    unlabelled = not present and config.source.suffix in {".csv", ".parquet"}
    notes += [f"no column for {', '.join(absent)}: these labels are all missing"] * bool(absent and not unlabelled)
    structures = table.column(STRUCTURE).to_pylist()
    sizes = None
    if config.sdf:
        read = [read_records(text, config.neutralise) for text in structures]
        sizes = np.array([len(records) for _, records in read])
        structures = [getattr(found, "smiles", found.source) for found, _ in read]
        notes += [f"the first {len(table)} molecules are shown"] * (len(table) >= SDF_MOLECULES)
    else:
        notes += _unreadable(table.column(ID).to_pylist()[:PARSED], structures)
    split = table.column(config.split_col).to_pylist() if config.split_col in table.names else ["train"] * len(table)
    columns: dict[str, Any] = {"ID": table.column(ID).to_pylist(), "smiles": structures, "split": split}
    names = tuple(endpoint.name for endpoint in present)
    y = np.stack(labels, axis=1) if labels else np.empty((len(table), 0))
    suggested = _suggested(config, tasks) if unlabelled else ()
    return Look(_with_labels(columns, names, y), tasks.names, names, y, sizes, tuple(notes), suggested, unlabelled)


def _unreadable(ids: list[str], structures: list[str]) -> list[str]:
    """A note on those of `ids` whose SMILES gives no molecule, if there are any."""
    wrong = {name: why for name, smiles in zip(ids, structures, strict=False) if (why := unreadable(smiles))}
    if not wrong:
        return []
    of = f"the first {len(ids):,}" if len(ids) < len(structures) else f"{len(ids):,}"
    name, why = next(iter(wrong.items()))
    return [
        f"{plural(len(wrong), 'SMILES', 'SMILES')} of {of} give no molecule and will be left out, first that of {name} ({why})"
    ]


def _suggested(config: PrepareConfig, tasks: TaskSet) -> tuple[str, ...]:
    table = read_table(config.source, (config.id_col, config.smiles_col or "", *SMILES_COLUMNS))
    return endpoint_columns(table, tasks, config.columns)


def _store(folder: Path) -> Look:
    manifest = read_manifest(folder)
    molecules = read_parquet(folder / "molecules.parquet")
    names = tuple(endpoint["name"] for endpoint in manifest["tasks"]["endpoints"])
    y, sizes = read_array(folder / "target_y.npy").astype(np.float64), np.diff(read_array(folder / "offsets.npy"))
    simulated = ["the endpoints are simulated"] * bool(manifest.get("provenance", {}).get("simulated"))
    smiles = molecules["smiles"] if "smiles" in molecules else [""] * len(molecules)
    columns = {"ID": molecules["ID"], "smiles": smiles, "split": molecules["split"], "conformers": sizes}
    return Look(_with_labels(columns, names, y), names, names, y, sizes, tuple([*manifest["notes"], *simulated]))


def _with_labels(columns: dict[str, Any], names: tuple[str, ...], y: np.ndarray) -> pd.DataFrame:
    """The table with labels as people read them: 1, 0, or nothing where unknown."""
    labels = {name: pd.array(y[:, t], dtype="Float64").astype("Int64") for t, name in enumerate(names)}
    return pd.DataFrame({**columns, **labels})
