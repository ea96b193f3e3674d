"""Which conformers a model looks at: read from a run's tables, weighed, checked against the truth where that is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.curves import outcome, wilson
from milbench.data.recent import recent
from milbench.data.store_view import KEY, StoreView
from milbench.data.tables import read_table
from milbench.errors import DataError
from milbench.files import read_json
from milbench.run_config import FINAL_FOLDER, REPORT_FILE

ALL = "all molecules"
ALL_FILE, ALL_PREDICTIONS = Path(FINAL_FOLDER) / "all_attn.parquet", Path(FINAL_FOLDER) / "all_predictions.parquet"
"""Where a study keeps the attention over every molecule of its store, once it was asked for, and the predictions."""


def attention_files(study: str | Path) -> dict[str, Path]:
    """The tables of attention that a study folder has: of the leaderboard, of all molecules."""
    study = Path(study)
    report = study / FINAL_FOLDER / REPORT_FILE
    told = read_json(report).get("attention") if report.is_file() else None
    found = {ALL: study / ALL_FILE, "leaderboard": Path(told) if told else study / FINAL_FOLDER / "leaderboard_attn.parquet"}
    beside = study / FINAL_FOLDER / found["leaderboard"].name  # a workspace may have moved since
    if not found["leaderboard"].is_file():
        found["leaderboard"] = beside
    return {part: path for part, path in found.items() if path.is_file()}


def runs(finals: Sequence[Path], studies: Sequence[Path]) -> list[Path]:
    """The folders whose attention there is, then those of final models that can still be asked for theirs."""
    there = [folder for folder in dict.fromkeys([*finals, *studies]) if attention_files(folder)]
    return there + [folder for folder in finals if folder not in there]


def attention_command(study: Path, store: Path) -> list[str]:
    """The `milbench` command that writes the attention over every molecule of a store to where `attention_files` finds it."""
    return ["predict", str(study), str(store), "--out", str(study / ALL_PREDICTIONS), "--attn_out", str(study / ALL_FILE)]


def of_all_molecules(study: Path) -> list[Path]:
    """Everything that the `attention_command` left: its tables, what is said beside them, unfinished work."""
    return [path for kind in (ALL_FILE, ALL_PREDICTIONS) for path in (study / kind).parent.glob(f"{kind.stem}.*")]


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention a [R, T] over the conformers `conf_ids` [R] of n molecules, rows offsets[m]:offsets[m+1] of molecule m, adding
    up to 1 in every task; probabilities p [n, T].
    """

    names: tuple[str, ...]
    ids: np.ndarray
    conf_ids: np.ndarray
    offsets: np.ndarray
    p: np.ndarray
    a: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Conformers of each molecule [n]."""
        return np.diff(self.offsets)

    @property
    def bag(self) -> np.ndarray:
        """The molecule of every row [R]."""
        return np.repeat(np.arange(len(self.ids)), self.sizes)

    def of(self, molecule: str) -> tuple[np.ndarray, np.ndarray]:
        """conf_ids [N] and attention [N, T] of one molecule; DataError when it is not here."""
        found = np.flatnonzero(self.ids == molecule)
        if not found.size:
            raise DataError("attention", "has no such molecule", got=molecule, do="choose another, or ask for all molecules")
        rows = slice(*self.offsets[found[0] : found[0] + 2])
        return self.conf_ids[rows], self.a[rows]

    @cached_property
    def entropy(self) -> np.ndarray:
        """How evenly attention is spread [n, T]: 0 one conformer has all, 1 all have the same, NaN for a single conformer."""
        terms = np.zeros_like(self.a)
        np.log(self.a, out=terms, where=self.a > 0)
        sums = np.add.reduceat(-self.a * terms, self.offsets[:-1], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = sums / np.log(self.sizes)[:, None]
        return np.where(self.sizes[:, None] > 1, np.clip(spread, 0, 1), np.nan)

    @cached_property
    def top(self) -> np.ndarray:
        """The largest attention of each molecule [n, T]."""
        return np.maximum.reduceat(self.a, self.offsets[:-1], axis=0)


@recent()
def read_attention(path: str | Path) -> Attention:
    """Read a table with ID, conf_id, pred_<task>, attn_<task>, a row a conformer, molecule after molecule; else a DataError."""
    table = read_table(path, ("ID", "conf_id"))
    names = tuple(name.removeprefix("attn_") for name in table.names if name.startswith("attn_"))
    if not names:
        raise DataError(path, "has no attn_<endpoint> column", do="give the table of attention that a run wrote")
    ids = table.text("ID")
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    if len(np.unique(ids[starts].astype(str))) < len(starts):
        raise DataError(path, "the conformers of a molecule do not stand together", do="sort it by ID")
    a, p = (np.stack([table.numbers(f"{kind}_{name}") for name in names], axis=1) for kind in ("attn", "pred"))
    return Attention(names, ids[starts], table.text("conf_id"), np.append(starts, len(ids)), p[starts], a)


def molecule_table(attention: Attention, view: StoreView, task: str, threshold: float) -> pd.DataFrame:
    """The molecules of an attention table as the store knows them, one row each, for one endpoint.

    Columns: ID, smiles, split, label, prediction, outcome (TP, FP, FN, TN at the threshold, "" without a label), conformers,
    entropy, top_attention. Molecules that the store does not have are left out; of an endpoint that it is not labelled for no
    label is known.
    """
    t = attention.names.index(task)
    places = view.places.get_indexer(pd.Index(attention.ids))
    here = places >= 0
    if not here.any():
        raise DataError(view.folder, "has none of these molecules", do="choose the store that the model was trained on")
    rows = view.molecules.iloc[places[here]]
    y = rows[task].to_numpy(np.float64) if task in view.tasks.names else np.full(len(rows), np.nan)
    table = pd.DataFrame(
        {
            "ID": attention.ids[here],
            "smiles": rows["smiles"].to_numpy(object) if "smiles" in rows else "",
            "split": rows["split"].to_numpy(object),
            "label": np.where(np.isnan(y), "", np.where(y == 1, "positive", "negative")),
            "prediction": attention.p[here, t],
            "outcome": "",
            "conformers": attention.sizes[here],
            "entropy": attention.entropy[here, t],
            "top_attention": attention.top[here, t],
        }
    )
    return called(table, threshold)


def called(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """A `molecule_table` with its outcomes at another threshold."""
    label = table["label"].to_numpy(object)
    y = np.select([label == "positive", label == "negative"], [1.0, 0.0], np.nan)
    return table.assign(outcome=outcome(y, table["prediction"].to_numpy(), threshold))


def filtered(table: pd.DataFrame, label: str, outcome: str) -> pd.DataFrame:
    """Rows of a `molecule_table` with this label (any, positive, negative, unknown) and outcome (any, TP, …), surest first."""
    labels = table["label"].replace("", "unknown")
    keep = ((labels == label) | (label == "any")) & ((table["outcome"] == outcome) | (outcome == "any"))
    return table.loc[keep].sort_values("prediction", ascending=False, ignore_index=True)


@dataclass(frozen=True, eq=False)
class Looked:
    """One molecule as a model looks at it: attention [N, T] over its conformers `conf_ids` [N], what is `known` of them in the
    same order, their heavy atoms [N, atoms, 3] in Å (None without coordinates).
    """

    id: str
    place: int
    smiles: str
    conf_ids: list[str]
    attention: np.ndarray
    known: pd.DataFrame
    positions: np.ndarray | None

    @property
    def measures(self) -> list[str]:
        """Columns of `known` to show beside attention."""
        return [name for name in self.known.columns if name != "conf_id" and not name.startswith(KEY)]

    def keys(self, names: Sequence[str]) -> np.ndarray | None:
        """Which conformer made the molecule positive [N, T]; None where that is not known."""
        columns = [KEY + name for name in names]
        return self.known[columns].to_numpy(bool) if all(name in self.known for name in columns) else None


def look_at(attention: Attention, view: StoreView, molecule: str) -> Looked:
    """One molecule of an attention table, its conformers as that table has them."""
    place = view.place(molecule)
    conf_ids, weight = attention.of(molecule)
    known, positions = view.known(place), view.positions(place)
    rows = pd.Index(known["conf_id"].astype(str)).get_indexer(pd.Index(conf_ids.astype(str)))
    if (rows < 0).any():
        raise DataError(view.folder, f"has other conformers of {molecule}", do="choose the store that belongs to the run")
    known, positions = known.iloc[rows].reset_index(drop=True), None if positions is None else positions[rows]
    return Looked(molecule, place, view.smiles(place), [str(c) for c in conf_ids], weight, known, positions)


def even_note(attention: Attention, level: float = 0.99) -> str:
    """Says of which endpoints attention is so even that its top conformer means nothing; '' where of none."""
    spread = {name: e[np.isfinite(e)] for name, e in zip(attention.names, attention.entropy.T, strict=True)}
    even = [name for name, e in spread.items() if e.size and e.mean() > level]
    where = "here" if len(even) == len(attention.names) else f"for {', '.join(even)}"
    return f"attention is nearly uniform {where}; the top conformer is a tie-break" if even else ""


def key_hits(conformers: pd.DataFrame, attention: np.ndarray, bag: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Does attention find the planted key? One row a positive (molecule, endpoint): endpoint, hit, chance = 1 / conformers.

    conformers [R rows] with key_<endpoint>; attention [R, T]; bag [R] the molecule of each row, molecule after molecule.
    """
    _, bag, size = np.unique(bag, return_inverse=True, return_counts=True)
    first, rows = np.concatenate([[0], np.cumsum(size)[:-1]]), np.arange(len(bag))
    parts = []
    for t, name in enumerate(names):
        key = conformers[f"{KEY}{name}"].to_numpy(bool)
        largest = np.maximum.reduceat(attention[:, t], first)[bag]
        top = np.minimum.reduceat(np.where(attention[:, t] == largest, rows, len(rows)), first)  # the first of equals
        counted = (np.bincount(bag, key) > 0) & (size > 1)
        parts.append(pd.DataFrame({"endpoint": name, "hit": key[top][counted], "chance": 1 / size[counted]}))
    return pd.concat(parts, ignore_index=True)


def hits_of(attention: Attention, view: StoreView) -> pd.DataFrame:
    """`key_hits` of an attention table in a store that knows the key conformers of every endpoint."""
    known = view.conformers[["ID", "conf_id", *(f"{KEY}{name}" for name in attention.names)]]
    rows = pd.DataFrame({"ID": np.repeat(attention.ids, attention.sizes), "conf_id": attention.conf_ids}).astype("str")
    joined = rows.merge(known.astype({"ID": "str", "conf_id": "str"}), on=["ID", "conf_id"], how="left", validate="one_to_one")
    joined[known.columns[2:]] = joined[known.columns[2:]].fillna(False)
    return key_hits(joined, attention.a, attention.bag, attention.names)


def hit_rates(hits: pd.DataFrame) -> pd.DataFrame:
    """`key_hits` by endpoint: positives, rate, low, high (95 %, Wilson), chance."""
    rates = hits.groupby("endpoint", sort=False).agg(positives=("hit", "size"), rate=("hit", "mean"), chance=("chance", "mean"))
    low, high = wilson((rates["rate"] * rates["positives"]).to_numpy(), rates["positives"].to_numpy())
    return rates.assign(low=low, high=high).reset_index()
