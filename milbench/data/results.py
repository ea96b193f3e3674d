"""Predictions with their labels, as runs leave them: found, read, joined on the molecules that two runs share."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.recent import recent
from milbench.data.scoring import by_molecule
from milbench.data.tables import Table, open_table, read_table
from milbench.errors import DataError
from milbench.files import content_hash, make_folder, write_table
from milbench.plural import plural
from milbench.run_config import FINAL_FOLDER, OOF_FILE, PREDICTIONS_FILE

OUT_OF_FOLD, LEADERBOARD = "out of fold", "leaderboard"
FILES = {OUT_OF_FOLD: Path(OOF_FILE), LEADERBOARD: Path(FINAL_FOLDER) / PREDICTIONS_FILE}
"""Where a study folder keeps the predictions of each part."""


@dataclass(frozen=True)
class Result:
    """Predictions p [n, T] of one run on molecules `ids` [n] with labels y [n, T] (NaN where unknown) and the weights
    [n, T] of its APs (a column of NaN: unweighted). `part` says which molecules these are; `fold` [n]: the fold that each was
    predicted in (-1: in none), None where that is not known.
    """

    run: str
    part: str
    names: tuple[str, ...]
    ids: np.ndarray
    y: np.ndarray
    p: np.ndarray
    weights: np.ndarray
    fold: np.ndarray | None = None

    @property
    def folds(self) -> int:
        """Out of how many folds these were predicted, 0 where that is not known."""
        return 0 if self.fold is None else len(np.unique(self.fold[self.fold >= 0]))

    @property
    def title(self) -> str:
        """Run and part, as a chart names them."""
        return f"{self.run}, {self.part}"

    @cached_property
    def content(self) -> str:
        """A hash of everything that a score depends on."""
        return content_hash(self.y, self.p, self.weights, text="\n".join((*self.names, *self.ids)))

    def take(self, rows: np.ndarray) -> "Result":
        """These molecules."""
        there = {"ids": self.ids, "y": self.y, "p": self.p, "weights": self.weights, "fold": self.fold}
        return dataclasses.replace(self, **{name: None if values is None else values[rows] for name, values in there.items()})


@recent()
def read_result(path: str | Path, run: str, part: str) -> Result:
    """Read a table with ID, pred_<task> and label_<task> (weight_<task> where the AP is weighted); else a DataError."""
    table = read_table(path, ("ID",))
    names = [name.removeprefix("pred_") for name in table.names if name.startswith("pred_")]
    names = [name for name in names if f"label_{name}" in table.names]
    if not names:
        raise DataError(path, "has no pred_<endpoint> with its label_<endpoint>", do="give a table that `milbench run` wrote")
    weighted = [name for name in names if f"weight_{name}" in table.names]
    ids, p = by_molecule(table, [(f"pred_{name}",) for name in names])
    _, y = by_molecule(table, [(f"label_{name}",) for name in names])
    weights = np.full(p.shape, np.nan)
    weights[:, [name in weighted for name in names]] = by_molecule(table, [(f"weight_{name}",) for name in weighted])[1]
    return Result(run, part, tuple(names), ids, y, p, weights, fold_of(table, ids))


def fold_of(table: Table, ids: np.ndarray) -> np.ndarray | None:
    """The fold that a table says each of these molecules is of, [n] int, -1 for none; None where it has no folds."""
    if "fold" not in table.names:
        return None
    found, fold = by_molecule(table, [("fold",)])
    return np.nan_to_num(fold[pd.Index(found).get_indexer(pd.Index(ids)), 0], nan=-1).astype(np.int64)


def result_table(result: Result) -> pd.DataFrame:
    """A result as `read_result` reads it."""
    columns: dict[str, np.ndarray] = {"ID": result.ids} | ({} if result.fold is None else {"fold": result.fold})
    for t, name in enumerate(result.names):
        columns |= {f"pred_{name}": result.p[:, t], f"label_{name}": result.y[:, t]}
        if not np.isnan(result.weights[:, t]).all():
            columns[f"weight_{name}"] = result.weights[:, t]
    return pd.DataFrame(columns)


def result_files(study: str | Path) -> dict[str, Path]:
    """The parts that a study folder has predictions of, and where."""
    return {part: Path(study) / path for part, path in FILES.items() if (Path(study) / path).is_file()}


def comparable(path: str | Path, result: Result) -> bool:
    """Whether a table of predictions has an endpoint and a molecule of `result`; also where it cannot be read: to choose it
    says why.
    """
    try:
        table = open_table(path, ("ID",))
        ids = table.text("ID")
    except DataError:
        return True
    return any(f"pred_{name}" in table.names for name in result.names) and bool(pd.Index(result.ids).isin(ids).any())


def fold_note(a: Result, b: Result) -> str:
    """What to remember where two results are out of different numbers of folds; '' where alike or unknown."""
    if a.folds == b.folds or not (a.folds and b.folds):
        return ""
    return f"Different folds ({a.folds} and {b.folds}): part of the difference may be training size."


def aligned(results: Sequence[Result]) -> list[Result]:
    """The results on the molecules that all of them have, in the order of the first; a DataError where there is none."""
    ids = pd.Index(results[0].ids)
    for other in results[1:]:
        ids = ids[ids.isin(other.ids)]
    if ids.empty:
        raise DataError("--also", "shares no molecule with the predictions", do="average predictions of the same molecules")
    return [one.take(pd.Index(one.ids).get_indexer(ids)) for one in results]


def common_fold(results: Sequence[Result]) -> np.ndarray | None:
    """The fold of each molecule, [n], where all of these results, `aligned`, have the same; else None."""
    fold = results[0].fold
    same = fold is not None and all(other.fold is not None and np.array_equal(other.fold, fold) for other in results)
    return fold if same else None


def out_of_fold(results: Sequence[Result]) -> np.ndarray:
    """The fold of each molecule, [n], in which all of these results, `aligned`, were predicted; else a DataError."""
    fold = common_fold(results)
    if fold is None or (fold < 0).any() or len(np.unique(fold)) < 2:
        do = "give out-of-fold tables (a column fold) of the same folds"
        raise DataError("predictions", "are not all out of the same two or more folds, which a stack is fitted by", do=do)
    return fold


def shared(a: Result, b: Result) -> tuple[Result, Result, tuple[str, ...]]:
    """Both results on the molecules, endpoints and labels that they share, in one order, and what to know of it, in words."""
    names = [name for name in a.names if name in b.names]
    places = pd.Index(b.ids).get_indexer(pd.Index(a.ids))
    both = places >= 0
    if not names or not both.any():
        raise DataError(f"{a.title} and {b.title}", "share no molecule with the same endpoints", do="compare other runs")
    one, other = _columns(a, names).take(np.flatnonzero(both)), _columns(b, names).take(places[both])
    differ = ~((one.y == other.y) | (np.isnan(one.y) & np.isnan(other.y)))
    one.y[differ] = other.y[differ] = np.nan
    counts = {
        ("molecule", "of one run alone"): len(a.ids) + len(b.ids) - 2 * int(both.sum()),
        ("label", "that the runs do not agree on"): int(differ.sum()),
        ("endpoint", "of one run alone"): len(a.names) + len(b.names) - 2 * len(names),
    }
    left_out = [f"{plural(count, noun)} {which} left out" for (noun, which), count in counts.items() if count]
    return one, other, tuple(filter(None, [fold_note(a, b), *left_out]))


def _columns(result: Result, names: list[str]) -> Result:
    chosen = [result.names.index(name) for name in names]
    y, p, weights = result.y[:, chosen].copy(), result.p[:, chosen], result.weights[:, chosen]
    return dataclasses.replace(result, names=tuple(names), y=y, p=p, weights=weights)


def kept(folder: str | Path, key: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table `key` of a folder of results that cost time, made if it is not there; `key` hashes what it is made of."""
    path = Path(folder) / f"{key}.parquet"
    if path.is_file():
        return pd.read_parquet(path)
    table = make()
    make_folder(path.parent)
    write_table(path, table)
    return table
