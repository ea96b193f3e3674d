"""The EUOS25 challenge's files told apart by their columns; the name only says which wavelength a plain column is of."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

from milbench.errors import DataError
from milbench.tasks import EUOS25

SOURCE = "get the files from the EUOS25 challenge page, https://ochem.eu/static/challenge2025.do"
T340, T450, F340, F480 = EUOS25.names
FILES = {
    T340: "euos25_challenge_train_transmittance340.csv",
    T450: "euos25_challenge_train_transmittance450.csv",
    F340: "euos25_challenge_train_fluorescence340_450.csv",
    F480: "euos25_challenge_train_fluorescence480.csv",
}
"""What the training file of each endpoint is called as published; other names that keep the word and the wavelength do too."""
_ASSAYS = {"transmittance": (("340", T340), ("450", T450)), "fluorescence": (("340", F340), ("480", F480), ("multiple", F480))}


@dataclass(frozen=True)
class Sheet:
    """One recognised file and its columns: identifier, SMILES, labels and measured values by endpoint, plate, well."""

    path: Path
    id: str
    smiles: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    plate: str | None = None
    well: str | None = None

    @property
    def kind(self) -> str:
        """`train` has one endpoint's labels, `leaderboard` those of several, `test` none, `extra` anything else of use."""
        if self.labels:
            return "train" if len(self.labels) == 1 else "leaderboard"
        return "extra" if self.values or self.plate or self.well else "test"

    @property
    def about(self) -> str:
        """What was found, in words."""
        extras = ["measured values"] * bool(self.values) + ["plates"] * bool(self.plate) + ["wells"] * bool(self.well)
        labels = f"labels of {', '.join(self.labels)}" if self.labels else "molecules without labels"
        return f"{self.path.name}: {self.kind}, {labels}{', with ' + ', '.join(extras) if extras else ''}"


@dataclass(frozen=True)
class Sheets:
    """The challenge's files in a folder: training files by endpoint, test molecules, leaderboard, ignored files."""

    train: dict[str, list[Sheet]]
    extra: list[Sheet]
    test: Sheet | None
    leaderboard: Sheet | None
    ignored: list[str]


def find_sheets(folder: str | Path) -> Sheets:
    """Recognise every .csv in `folder` by its columns; a missing training file is a DataError that says where to get it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(folder, "no such folder", do=SOURCE)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and not path.name.startswith("."))
    sheets = {path: _recognised(path, _header(path)) for path in paths}
    known = [sheet for sheet in sheets.values() if sheet is not None]
    ignored = [path.name for path, sheet in sheets.items() if sheet is None]
    train: dict[str, list[Sheet]] = {}
    for sheet in known:
        if sheet.kind == "train":
            train.setdefault(next(iter(sheet.labels)), []).append(sheet)
    missing = [FILES[name] for name in EUOS25.names if name not in train]
    if missing:
        found = ", ".join(path.name for path in paths) or "no .csv file"
        raise DataError(folder, f"training labels are missing: no {', no '.join(missing)} (found {found})", do=SOURCE)
    for sheets_of in train.values():  # the plain file first
        sheets_of.sort(key=lambda sheet: (bool(sheet.values or sheet.plate or sheet.well), sheet.path.name))
    extra = [sheet for sheet in known if sheet.kind == "extra"]
    return Sheets(train, extra, _only(known, "test"), _only(known, "leaderboard"), ignored)


def _only(sheets: list[Sheet], kind: str) -> Sheet | None:
    chosen = [sheet for sheet in sheets if sheet.kind == kind]
    if len(chosen) > 1:
        names = " and ".join(sheet.path.name for sheet in chosen)
        raise DataError(chosen[0].path.parent, f"{names} both look like the {kind} file", do="keep one of them in the folder")
    return chosen[0] if chosen else None


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"cannot be read as a CSV file ({error})", do=SOURCE) from error


def _recognised(path: Path, header: list[str]) -> Sheet | None:
    """The columns of a challenge file by meaning; None for a file that has no identifier."""
    plain = {"".join(name.lower().split()): name for name in header}
    identifier = plain.get("id", plain.get("n"))
    named_like_one = path.name in FILES.values()
    labels, values = _measured(path, header)
    if identifier is None or (named_like_one and not labels):
        if named_like_one:
            want = "ID (or N), SMILES and Transmittance or Fluorescence"
            raise DataError(path, "has other columns", got=", ".join(header[:6]), want=want, do=SOURCE)
        return None
    sheet = Sheet(path, identifier, plain.get("smiles"), labels, values, plain.get("plate"), plain.get("well"))
    return None if sheet.kind == "test" and sheet.smiles is None else sheet


def _measured(path: Path, header: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Label columns and measured ("quantitative") columns by endpoint."""
    labels: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for column in header:
        name = column.lower()
        assay = next((assay for assay in _ASSAYS if assay in name), None)
        if assay is None:
            continue
        task = _endpoint(assay, name) or _endpoint(assay, path.name.lower())
        if task is None:
            want = f"a file name that says which, e.g. {next(f for f in FILES.values() if assay in f)}"
            raise DataError(
                path, f"of which wavelength is column {column!r}?", want=want, do="rename the file as it was published"
            )
        if "quantitative" in name:
            values.setdefault(task, []).append(column)
        elif task in labels:
            raise DataError(path, f"has two label columns of {task}", got=f"{labels[task]}, {column}", do=SOURCE)
        else:
            labels[task] = column
    return labels, values


def _endpoint(assay: str, text: str) -> str | None:
    """The endpoint that the first matching wavelength of `text` means, where its assay is named; None without one."""
    _, _, after = text.partition(assay)
    return next((task for wavelength, task in _ASSAYS[assay] if wavelength in after), None)
