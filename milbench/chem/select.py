"""Which rows and columns of the finished shards go into the store, and the account of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from milbench.chem.molecules import CHANGES
from milbench.chem.shards import Shard, read_shard
from milbench.chem.work import Work
from milbench.data.manifest import read_columns
from milbench.errors import ConfigError
from milbench.prepare_config import PrepareConfig

Names = tuple[Sequence[str], Sequence[str]]
Columns = tuple[np.ndarray, np.ndarray]
MEND_SHARE = 0.01
"""A column that lacks values in a larger share of the molecules (and more than one) leaves; of the others, the molecules do."""


@dataclass(frozen=True)
class Selection:
    """What stays of all shards.

    rows, one for each of the input's: ID, dropped, detail, changes, inchikey, conformers, atoms. columns: the positions of the
    2D and of the conformer columns that stay; left_out: molecules without a finite value, by name of a column that leaves.
    """

    rows: pd.DataFrame
    columns: Columns
    left_out: dict[str, int]

    @property
    def kept(self) -> np.ndarray:
        """Which rows stay, bool [n]."""
        return self.column("dropped") == ""

    def column(self, name: str) -> np.ndarray:
        """A column of `rows` [n]."""
        return self.rows[name].to_numpy(object)


def select(config: PrepareConfig, work: Work, names: Names) -> Selection:
    """First pass over the shards: repeated IDs, and values that are not finite."""
    rows, cells = _scan(work)
    computed = np.flatnonzero(_stays(rows))
    repeated = computed[pd.Index(rows["ID"].to_numpy(object)[computed]).duplicated()]
    _drop(rows, repeated, "duplicate_id", "an earlier row has this ID")
    columns, left_out = wanted_columns(config, names), {}
    if config.nonfinite != "keep":
        cells = cells[_stays(rows)[cells[:, 0]]]
        if config.nonfinite == "mend" and config.like is None:
            columns, left_out = _mended(names, cells, int(_stays(rows).sum()))
        _drop_not_finite(rows, cells, columns, names)
    return Selection(rows, columns, left_out)


def _scan(work: Work) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of all shards, and (row, column) of every value that is not finite [k, 2], conformer columns after 2D ones."""
    rows, cells, n = [], [np.zeros((0, 2), dtype=np.int64)], 0
    for index in range(work.n_shards):
        shard = read_shard(work.shard(index))
        places = n + np.flatnonzero(_stays(shard.rows))
        found = _not_finite(shard)
        cells.append(np.stack([places[found[:, 0]], found[:, 1]], axis=1))
        rows.append(shard.rows.drop(columns=["source", "smiles"]))
        n += len(shard.rows)
    return pd.concat(rows, ignore_index=True), np.concatenate(cells)


def _stays(rows: pd.DataFrame) -> np.ndarray:
    return rows["dropped"].to_numpy(object) == ""


def _mended(names: Names, cells: np.ndarray, n: int) -> tuple[Columns, dict[str, int]]:
    """The columns that are finite in all but 1 % of n molecules, and the others with the number of molecules."""
    every = [*names[0], *names[1]]
    missing = np.bincount(cells[:, 1], minlength=len(every))
    leaves = missing > max(MEND_SHARE * n, 1)
    split = len(names[0])
    stay = np.flatnonzero(~leaves[:split]), np.flatnonzero(~leaves[split:])
    return stay, {every[j]: int(missing[j]) for j in np.flatnonzero(leaves)}


def _drop_not_finite(rows: pd.DataFrame, cells: np.ndarray, columns: Columns, names: Names) -> None:
    """Drop the molecules that have such a value in one of these columns; the report names the first."""
    every = np.array([*names[0], *names[1]], dtype=object)
    inside = cells[np.isin(cells[:, 1], np.concatenate([columns[0], columns[1] + len(names[0])]))]
    places, first = np.unique(inside[:, 0], return_index=True)
    _drop(rows, places, "not_finite", every[inside[first, 1]])


def _drop(rows: pd.DataFrame, places: np.ndarray, why: str, detail: Any) -> None:
    rows.loc[places, "dropped"] = why
    rows.loc[places, "detail"] = detail


def _not_finite(shard: Shard) -> np.ndarray:
    """(molecule, column) of every value that is not finite, [k, 2]; the conformer columns come after the 2D ones."""
    flat = np.argwhere(~np.isfinite(shard.x2d))
    bag = np.repeat(np.arange(len(shard.x2d)), shard.computed["conformers"].to_numpy())
    row, column = np.nonzero(~np.isfinite(shard.xinst))
    deep = np.stack([bag[row], column + shard.x2d.shape[1]], axis=1)
    return np.unique(np.concatenate([flat, deep]), axis=0)


def wanted_columns(config: PrepareConfig, names: Names) -> Columns:
    """The positions of the columns that --like has, in its order; without it, of all. A ConfigError where one is absent."""
    if config.like is None:
        return np.arange(len(names[0])), np.arange(len(names[1]))
    manifest = read_columns(config.like)
    found = [pd.Index(own).get_indexer(manifest[key]) for own, key in zip(names, ("features_2d", "features_3d"), strict=True)]
    for places, key in zip(found, ("features_2d", "features_3d"), strict=True):
        if (places < 0).any():
            column = manifest[key][int(np.argmin(places))]
            raise ConfigError(
                "--like", "has a column that these sets do not make", got=column, do="choose the sets of that store"
            )
    return found[0], found[1]


def counts(selection: Selection) -> dict[str, Any]:
    """The report in numbers: rows, kept, changed by kind, dropped by reason, duplicates, columns that are left out."""
    kept = selection.kept
    changes, dropped = selection.column("changes")[kept], selection.column("dropped")[~kept]
    keys = selection.column("inchikey")[kept]
    reasons, n = np.unique(dropped.astype(str), return_counts=True)
    return {
        "rows": len(kept),
        "kept": int((changes == "").sum()),
        "changed": int((changes != "").sum()),
        "changes": {name: sum(name in change for change in changes) for name in CHANGES},
        "dropped": dict(zip(reasons.tolist(), n.tolist(), strict=True)),
        "duplicates": len(keys) - len(set(keys)),
        "columns_left_out": selection.left_out,
    }
