"""Labels, 2D and instance tables joined into one data set, every loss of a row counted."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from milbench.columns import Columns
from milbench.data.bags import BagData
from milbench.data.joined import Instances, join_instances
from milbench.data.labelled import SMILES_COLUMNS, require_endpoints, splits
from milbench.data.tables import Report, Table, from_frame, open_table, read_table, usable_rows
from milbench.data.targets import RawTargets, read_targets
from milbench.errors import DataError
from milbench.files import content_hash
from milbench.tasks import EUOS25, TaskSet


@dataclass(frozen=True)
class TableOptions:
    """How tables are read: column names, missing labels ("mask" or "negative"), empty bags, non-finite features.

    `folds_elsewhere`: the fold column is another table's, and need not be in that of the labels.
    """

    columns: Columns = field(default_factory=Columns)
    labels_missing: str = "mask"
    keep_empty_bags: bool = False
    allow_missing_features: bool = False
    folds_elsewhere: bool = False


def load_tables(
    labels: str | Path | pd.DataFrame,
    feat2d: str | Path | pd.DataFrame,
    instances: Sequence[str | Path | pd.DataFrame],
    tasks: TaskSet = EUOS25,
    options: TableOptions | None = None,
) -> BagData:
    """One data set from a labels table, a 2D table and one or more instance tables (files or data frames).

    Molecules keep the order of the labels table. Everything dropped or averaged is in `.notes`; DataErrors name the place.
    """
    options = options or TableOptions()
    columns, report = options.columns, Report()
    label_table = _open(labels, "labels", (columns.id, columns.split, columns.fold, *SMILES_COLUMNS), read_table)
    table2d = _open(feat2d, "2D table", (columns.id,))
    tables3d = [_open(source, "instance table", (columns.id, columns.conf)) for source in instances]
    if not tables3d:
        raise DataError("instance tables", "none given", do="name at least one table with ID, conf_id and features")
    for table in (table2d, *tables3d):
        if len(tables3d) and table.source == label_table.source:
            raise DataError(table.source, "is the labels table itself", do="give the features a table of their own")
    require_endpoints(label_table, tasks, columns)
    raw = read_targets(label_table, tasks, options.labels_missing, report)
    not_features = columns.reserved | set(tasks.target_columns)
    ids = label_table.ids(columns.id)
    names2d = tuple(table2d.feature_names(not_features))
    inst = join_instances([usable_rows(table, report) for table in tables3d], columns, not_features, report)
    row2d = _rows_of(ids, table2d.ids(columns.id), label_table.source, table2d.source, report)
    bag = _rows_of(ids, inst.molecules, label_table.source, tables3d[0].source, report)
    keep = row2d >= 0 if options.keep_empty_bags else (row2d >= 0) & (bag >= 0)
    _say_drops(keep, row2d, bag, options.keep_empty_bags, report)
    kept = np.flatnonzero(keep)
    if not kept.size:
        raise DataError(label_table.source, "no molecule is in all tables", do="check that the ID columns hold the same names")
    order, offsets = _grouped(ids[kept], inst)
    xinst = inst.features(order, allow_missing=options.allow_missing_features)
    x2d = table2d.take(row2d[kept]).features(names2d, allow_missing=options.allow_missing_features)
    bags = _finished(
        label_table,
        ids,
        kept,
        raw,
        (x2d, xinst, inst.conf_ids[order], offsets),
        (names2d, inst.names),
        options,
        report,
    )
    sources = [table.source for table in (label_table, table2d, *tables3d)]
    return dataclasses.replace(bags, provenance={"made_by": "load_tables", "tables": sources})


def _open(
    source: str | Path | pd.DataFrame, name: str, text_columns: Sequence[str], read: Callable[..., Table] = open_table
) -> Table:
    return from_frame(source, name) if isinstance(source, pd.DataFrame) else read(source, text_columns)


def _rows_of(ids: np.ndarray, there: np.ndarray, here_name: str, there_name: str, report: Report) -> np.ndarray:
    """The row of each molecule in another table, -1 where it has none; what is in one table only is reported."""
    rows = pd.Index(there).get_indexer(pd.Index(ids))
    if (rows < 0).all():
        raise DataError(there_name, f"shares no ID with {here_name}", got=str(there[0]), want=f"IDs like {ids[0]!r}")
    only = len(there) - int((rows >= 0).sum())
    if only:
        report.say(f"{there_name}: {only} molecules are not in {here_name} and are left out")
    return rows


def _say_drops(keep: np.ndarray, row2d: np.ndarray, bag: np.ndarray, keep_empty: bool, report: Report) -> None:
    if (row2d < 0).any():
        report.say(f"{int((row2d < 0).sum())} molecules have no row in the 2D table and are dropped")
    empty = int(((bag < 0) & (row2d >= 0)).sum())
    if empty:
        report.say(
            f"{empty} molecules have no conformer and are {'kept, predicted from 2D alone' if keep_empty else 'dropped'}"
        )


def _grouped(ids: np.ndarray, inst: Instances) -> tuple[np.ndarray, np.ndarray]:
    """The instances of these molecules, bag after bag in the molecules' order, and the offsets [M+1]."""
    molecule = pd.Index(ids).get_indexer(pd.Index(inst.ids))[inst.molecule]
    order = np.argsort(molecule, kind="stable")
    order = order[np.searchsorted(molecule[order], 0) :]
    counts = np.bincount(molecule[molecule >= 0], minlength=len(ids))
    return order, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _finished(
    table: Table,
    ids: np.ndarray,
    kept: np.ndarray,
    raw: RawTargets,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    options: TableOptions,
    report: Report,
) -> BagData:
    x2d, xinst, conf_ids, offsets = arrays
    raw = raw.take(kept)
    split = splits(table, options.columns.split, report)
    fold = fold_numbers(table, options.columns.fold, optional=options.folds_elsewhere)
    smiles = next((table.column(c).to_pandas().to_numpy(object) for c in SMILES_COLUMNS if c in table.names), None)
    text = "\n".join([*ids[kept], "", *conf_ids, "", *split[kept], *names[0], *names[1]])
    content = content_hash(x2d, xinst, offsets, raw.y, raw.w, raw.abs, raw.w_abs, raw.fluo, raw.w_fluo, fold[kept], text=text)
    return BagData(
        ids=ids[kept],
        x2d=torch.from_numpy(x2d),
        xinst=torch.from_numpy(xinst),
        offsets=torch.from_numpy(offsets),
        conf_ids=conf_ids,
        split=split[kept],
        fold=fold[kept],
        raw=raw,
        names2d=names[0],
        names_inst=names[1],
        smiles=None if smiles is None else smiles[kept],
        notes=tuple(report.lines),
        content=content,
    )


def fold_numbers(table: Table, column: str, optional: bool = False) -> np.ndarray:
    """Fold of each molecule, int64 [n]; -1 where there is none: an empty cell, or no such column where it may be absent.

    That may a column of the default name; another was asked for, and a DataError says that it is not there.
    """
    if column not in table.names and (optional or column == Columns.fold):
        return np.full(len(table), -1, dtype=np.int64)
    values = table.numbers(column)
    wrong = np.flatnonzero(~np.isnan(values) & (np.isinf(values) | (values != np.floor(values))))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(table.source, row=table.row(row), column=column, got=float(values[row]), want="a whole number or empty")
    return np.where(np.isnan(values) | (values < 0), -1, values).astype(np.int64)
