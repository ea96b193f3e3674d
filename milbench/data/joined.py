"""Instance tables joined on (ID, conf_id): decided on these two columns alone, the features read once all rows are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from milbench.columns import Columns
from milbench.data.tables import Report, Table, blocks_of
from milbench.errors import DataError


@dataclass(frozen=True)
class _Part:
    """One table's share: its features' names; `rows` [R], the row of each instance.

    Where rows repeat a key, `group` [n] numbers the keys, and `rows` are these numbers.
    """

    table: Table
    names: tuple[str, ...]
    rows: np.ndarray
    group: np.ndarray | None


@dataclass(frozen=True)
class Instances:
    """R instances that stand in every table: `molecule` [R] numbers in `ids` [U] text, `conf_ids` [R] text."""

    ids: np.ndarray
    molecule: np.ndarray
    conf_ids: np.ndarray
    parts: tuple[_Part, ...]

    @property
    def molecules(self) -> np.ndarray:
        """The IDs that have instances, sorted, [<= U] text."""
        return np.unique(self.ids[np.unique(self.molecule)].astype(str))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all features."""
        return tuple(name for part in self.parts for name in part.names)

    def features(self, order: np.ndarray, *, allow_missing: bool) -> np.ndarray:
        """The features of the instances `order` [N], float32 [N, F3]: read column by column straight into their places."""
        pa.default_memory_pool().release_unused()  # what the keys took
        out, start = np.empty((len(order), len(self.names)), dtype=np.float32), 0
        for part in self.parts:
            _lay(part, order, out[:, start : start + len(part.names)], allow_missing)
            start += len(part.names)
        return out


def join_instances(tables: Sequence[Table], columns: Columns, not_features: frozenset[str], report: Report) -> Instances:
    """Inner-join the instance tables on (ID, conf_id); duplicate keys are averaged within their table, with a count."""
    found = [_keys_and_names(table, columns, not_features) for table in tables]
    _check_shared(tables, [names for *_, names in found])
    (molecules, ids), (conformers, conf_ids) = _numbered([one for one, *_ in found]), _numbered([one for _, one, _ in found])
    keys = np.split(molecules * len(conf_ids) + conformers, np.cumsum([len(table) for table in tables])[:-1])
    distinct, groups = zip(*(_distinct(table, key, report) for table, key in zip(tables, keys, strict=True)), strict=True)
    rows = [np.arange(len(distinct[0])), *(pd.Index(key).get_indexer(pd.Index(distinct[0])) for key in distinct[1:])]
    keep = np.logical_and.reduce([row >= 0 for row in rows])
    if not keep.any():
        raise DataError(tables[1].source, f"shares no (ID, conf_id) with {tables[0].source}", do="check both columns")
    for table, key in zip(tables, distinct, strict=True):
        lost = len(key) - int(keep.sum())
        if lost:
            report.say(f"{table.source}: {lost} conformers are not in every instance table and are left out")
    molecule, conformer = np.divmod(distinct[0][keep], len(conf_ids))
    parts = (
        _Part(table, names, row[keep], group)
        for table, (*_, names), row, group in zip(tables, found, rows, groups, strict=True)
    )
    return Instances(ids, molecule, conf_ids[conformer], tuple(parts))


def _keys_and_names(
    table: Table, columns: Columns, not_features: frozenset[str]
) -> tuple[pa.StringArray, pa.StringArray, tuple[str, ...]]:
    if not len(table):
        raise DataError(table.source, "has no usable row", do="check its status and error columns")
    ids, conf_ids = table.arrow_text(columns.id), table.arrow_text(columns.conf)
    return ids, conf_ids, tuple(table.feature_names(not_features))


def _check_shared(tables: Sequence[Table], names: Sequence[tuple[str, ...]]) -> None:
    earlier: set[str] = set()
    for table, own in zip(tables, names, strict=True):
        shared = sorted(earlier & set(own))
        if shared:
            raise DataError(
                table.source, "has a feature that an earlier instance table has too", column=shared[0], do="rename one"
            )
        earlier |= set(own)


def _numbered(texts: Sequence[pa.StringArray]) -> tuple[np.ndarray, np.ndarray]:
    """A number for each text, int64, one table after the other, the same in all; and the text of each number."""
    found = pa.concat_arrays(texts).dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary.to_numpy(zero_copy_only=False)


def _distinct(table: Table, keys: np.ndarray, report: Report) -> tuple[np.ndarray, np.ndarray | None]:
    """The keys without repeats, in order, and the number of each row's key among them (None: nothing repeats)."""
    numbers, distinct = pd.factorize(keys)
    if len(distinct) == len(keys):
        return keys, None
    report.say(f"{table.source}: {len(keys) - len(distinct)} rows repeat an (ID, conf_id); each such group is averaged")
    return np.asarray(distinct), numbers


def _lay(part: _Part, order: np.ndarray, out: np.ndarray, allow_missing: bool) -> None:
    """The features of `part` for the instances `order` into `out` [N, f]. All its rows are checked, also those left out."""
    rows = part.rows[order]
    for some in blocks_of(len(part.names)):
        block = part.table.block(part.names[some], allow_missing=allow_missing)
        if part.group is not None:
            block = np.asarray(pd.DataFrame(block.T.astype(np.float64)).groupby(part.group).mean(), dtype=np.float32).T
        out[:, some] = _taken(block, rows).T


def _taken(block: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """block[:, rows], not copied where that is all of them in order."""
    return block if np.array_equal(rows, np.arange(block.shape[1])) else block[:, rows]
