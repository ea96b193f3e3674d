"""The EUOS25 challenge's files as one labels table, every quirk counted and said once.

The files are the user's own: EU-OPENSCREEN and SLAS publish them on https://ochem.eu/static/challenge2025.do, and nothing of
them is part of this project. The challenge forbids plate and well as predictors: they stay in the labels table, never features.
"""

from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.euos25_files import SOURCE, Sheet, Sheets, find_sheets
from milbench.data.labelled import label_column
from milbench.data.tables import Report, Table, read_table
from milbench.errors import DataError
from milbench.tasks import EUOS25

WELLS = 352
"""Compound wells of a plate: 16 rows and 22 columns of a 384-well plate. IDs count through them, so plate = (ID - 1) // 352."""


@dataclass(frozen=True)
class Imported:
    """The labels table: ID, smiles, the endpoints (NaN where unknown), measured values, split, plate, well; and notes."""

    frame: pd.DataFrame
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What was found, what was odd, and the endpoints' positives."""
        sizes = ", ".join(f"{count:,} {split}" for split, count in self.frame["split"].value_counts(sort=False).items())
        lines = [*self.notes, f"{len(self.frame):,} molecules: {sizes}"]
        for name in EUOS25.names:
            y = self.frame[name].to_numpy(np.float64)
            positives, known = int((y == 1).sum()), int(np.isfinite(y).sum())
            lines.append(f"  {name}: {positives:,} of {known:,} positive ({positives / max(known, 1):.3%})")
        return lines


def import_euos25(folder: str | Path) -> Imported:
    """Read the challenge's files in `folder` (SOURCE says where to get them) as one table.

    Needed: the four training files. Used where given: the test molecules (split `test`, no labels), the leaderboard's labels
    (split `leaderboard`; those molecules leave `test`), extended files (measured values as `<endpoint>_quantitative`, plate,
    well). Without a plate file, plate is (ID - 1) // 352. A file that is missing or does not fit is a one-line DataError.
    """
    sheets, report = find_sheets(folder), Report()
    for sheet in _all(sheets):
        report.say(f"found {sheet.about}")
    if sheets.ignored:
        report.say(f"ignored, not a file of the challenge: {', '.join(sheets.ignored)}")
    frame = _train(sheets, report)
    for sheet, split in ((sheets.leaderboard, "leaderboard"), (sheets.test, "test")):
        if sheet is not None:
            frame = _append(frame, sheet, split, sheets, report)
    if sheets.test is None:
        report.say("no test file: the table holds labelled molecules alone")
    return Imported(_ordered(_plates(frame, report)), tuple(report.lines))


def _all(sheets: Sheets) -> list[Sheet]:
    train = [sheet for name in EUOS25.names for sheet in sheets.train[name]]
    return [*train, *sheets.extra, *(sheet for sheet in (sheets.leaderboard, sheets.test) if sheet is not None)]


def read_sheet(sheet: Sheet) -> tuple[Table, np.ndarray]:
    """The table and its IDs [n] as text; an ID that appears twice is a DataError."""
    text = [column for column in (sheet.id, sheet.smiles, sheet.plate, sheet.well) if column is not None]
    table = read_table(sheet.path, text)
    return table, table.ids(sheet.id, trimmed=True, do=SOURCE)


def _train(sheets: Sheets, report: Report) -> pd.DataFrame:
    """The training files joined on their IDs, in the order of the first."""
    first = sheets.train[EUOS25.names[0]][0]
    _, ids = read_sheet(first)
    frame = pd.DataFrame({"ID": ids, "split": "train"})
    written: dict[str, np.ndarray] = {}
    shuffled = []
    for sheet in _all(sheets):
        if sheet.kind not in {"train", "extra"}:
            continue
        table, own = read_sheet(sheet)
        rows = _rows(ids, own, first, sheet)
        if (rows != np.arange(len(rows))).any():
            shuffled.append(sheet.path.name)
        for name, column in sheet.labels.items():
            _merge(frame, name, label_column(table, column, SOURCE)[rows], sheet)
        _add_measured(frame, table, rows, sheet)
        if sheet.smiles is not None:
            written[sheet.path.name] = table.text(sheet.smiles)[rows]
    if shuffled:
        report.say(f"quirk: other order of molecules than in {first.path.name}, joined by ID: {', '.join(shuffled)}")
    _say_columns(sheets, report)
    frame.insert(1, "smiles", _agreed(ids, written, report))
    return frame


def _rows(ids: np.ndarray, own: np.ndarray, first: Sheet, sheet: Sheet) -> np.ndarray:
    rows = pd.Index(own).get_indexer(pd.Index(ids))
    lacking = np.flatnonzero(rows < 0)
    more = len(own) - int((rows >= 0).sum())
    if lacking.size or more:
        other = ids[lacking[0]] if lacking.size else own[np.flatnonzero(~np.isin(own, ids))[0]]
        what = f"its molecules are not those of {first.path.name}: {lacking.size} IDs missing, {more} more"
        raise DataError(sheet.path, what, got=f"ID {other}", do=SOURCE)
    return rows


def _merge(frame: pd.DataFrame, name: str, values: np.ndarray, sheet: Sheet) -> None:
    """Add a label column; a second file of the same endpoint must say the same."""
    if name in frame:
        known = frame[name].to_numpy(np.float64)
        differ = np.flatnonzero((known != values) & ~(np.isnan(known) & np.isnan(values)))
        if differ.size:
            what = f"{differ.size} labels of {name} differ from those of the plain file"
            raise DataError(sheet.path, what, got=f"ID {frame['ID'][int(differ[0])]}", do=SOURCE)
    frame[name] = values


def _add_measured(frame: pd.DataFrame, table: Table, rows: np.ndarray, sheet: Sheet) -> None:
    for name, columns in sheet.values.items():
        for number, column in enumerate(columns):
            frame[f"{name}_quantitative{'' if not number else f'_{number + 1}'}"] = table.numbers(column)[rows]
    for target, column in (("plate", sheet.plate), ("well", sheet.well)):
        if column is None:
            continue
        cells = table.text(column)[rows]
        if target in frame and (frame[target].to_numpy(object) != cells).any():
            raise DataError(sheet.path, f"{target}s differ from those of another extended file", column=column, do=SOURCE)
        frame[target] = cells


def _say_columns(sheets: Sheets, report: Report) -> None:
    """Name the files whose identifier or label column is called differently from most."""
    train = [sheets.train[name][0] for name in EUOS25.names]
    for sheet in train:
        if sheet.id != "ID":
            report.say(f"quirk: {sheet.path.name} calls the identifier {sheet.id!r} instead of 'ID'")
        column = next(iter(sheet.labels.values()))
        if column not in {"Transmittance", "Fluorescence"}:
            report.say(f"quirk: {sheet.path.name} calls the label {column!r}")


def _agreed(ids: np.ndarray, written: dict[str, np.ndarray], report: Report) -> np.ndarray:
    """One SMILES a molecule: that of most files (ties: of the first); who writes it differently is said."""
    if not written:
        raise DataError("training files", "none has a SMILES column", do=SOURCE)
    columns = list(written.values())
    smiles = columns[0].copy()
    differ = np.flatnonzero(np.logical_or.reduce([column != smiles for column in columns]))
    odd: dict[str, list[int]] = {}
    for row in differ:
        smiles[row] = Counter(column[row] for column in columns).most_common(1)[0][0]
        for name, column in written.items():
            if column[row] != smiles[row]:
                odd.setdefault(name, []).append(int(row))
    for name, rows in odd.items():
        which = ", ".join(ids[row] for row in rows[:5])
        same = _same_molecules([(written[name][row], smiles[row]) for row in rows])
        report.say(f"quirk: {name} writes {len(rows)} SMILES differently (ID {which}){same}; the other files' are kept")
    return smiles


def _same_molecules(pairs: list[tuple[str, str]]) -> str:
    if find_spec("rdkit") is None:
        return " (without RDKit it cannot be said whether they are the same molecules)"
    from milbench.chem.molecules import Rejected, standardise

    keys = [[standardise(text) for text in pair] for pair in pairs]
    other = sum(isinstance(a, Rejected) or isinstance(b, Rejected) or a.inchikey != b.inchikey for a, b in keys)
    return f", {other} of them another molecule" if other else ", the same molecules"


def _append(frame: pd.DataFrame, sheet: Sheet, split: str, sheets: Sheets, report: Report) -> pd.DataFrame:
    """Further molecules: the leaderboard must be new; a test molecule that the leaderboard labels is left to it."""
    table, ids = read_sheet(sheet)
    known = frame.set_index("ID")["split"].reindex(ids).to_numpy(object)
    if (known == "train").any():
        row = int(np.argmax(known == "train"))
        what = f"{int((known == 'train').sum())} of its molecules are training molecules"
        raise DataError(sheet.path, what, row=row + 1, column=sheet.id, got=ids[row], do=SOURCE)
    new = np.flatnonzero(pd.isna(known))
    if len(new) < len(ids):
        report.say(f"{len(ids) - len(new)} of the {len(ids)} test molecules are on the leaderboard, with labels")
    part = pd.DataFrame({"ID": ids, "split": split, "smiles": _smiles(table, ids, sheet, sheets)})
    for name, column in sheet.labels.items():
        part[name] = label_column(table, column, SOURCE)
    _add_measured(part, table, np.arange(len(ids)), sheet)
    return pd.concat([frame, part.iloc[new]], ignore_index=True)


def _smiles(table: Table, ids: np.ndarray, sheet: Sheet, sheets: Sheets) -> np.ndarray:
    if sheet.smiles is not None:
        return table.text(sheet.smiles)
    if sheets.test is None or sheets.test.smiles is None:
        raise DataError(sheet.path, "has no SMILES, and there is no test file that has them", do=SOURCE)
    other, there = read_sheet(sheets.test)
    rows = pd.Index(there).get_indexer(pd.Index(ids))
    if (rows < 0).any():
        raise DataError(sheet.path, "has no SMILES, and the test file lacks its molecule", got=ids[int(np.argmax(rows < 0))])
    return other.text(sheets.test.smiles)[rows]


def _plates(frame: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Plate as text: of the extended files, else (ID - 1) // 352; what the files do not name takes its block's plate."""
    texts = frame["ID"].to_numpy(str)
    if not np.char.isdigit(texts).all():
        report.say("IDs are not all whole numbers: no plate can be told from them")
        return frame
    block = (texts.astype(np.int64) - 1) // WELLS
    if "plate" not in frame:
        report.say(f"no plate file: plate = (ID - 1) // {WELLS}, {len(np.unique(block))} plates")
        return frame.assign(plate=block.astype(str).astype(object))
    plate = frame["plate"].to_numpy(object)
    named = ~pd.isna(plate)
    codes: dict[int, set[str]] = {}
    for number, code in zip(block[named].tolist(), plate[named].tolist(), strict=True):
        codes.setdefault(number, set()).add(code)
    only = {number: next(iter(found)) for number, found in codes.items() if len(found) == 1}
    filled = [code if has else only.get(number, str(number)) for code, has, number in zip(plate, named, block.tolist())]
    if not named.all():
        report.say(f"{int((~named).sum())} molecules without a plate in the files: that of their block of {WELLS} IDs")
    return frame.assign(plate=np.array(filled, dtype=object))


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    first = ["ID", "smiles", *EUOS25.names]
    last = [column for column in ("split", "plate", "well") if column in frame]
    between = [str(column) for column in frame if column not in {*first, *last}]
    return frame.loc[:, [*first, *between, *last]]
