"""A data set on its way from a file to a bag store: where each step lies, and the command that does it. Loads no torch."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from milbench.errors import ConfigError
from milbench.prepare_config import SUFFIXES
from milbench.storage_url import STUDY_FILE

STEPS = ("import", "doctor", "folds", "prepare")
DEPTH, MOST_FILES = 4, 200
_ROWS = 20
"""Of a .csv, to see which columns are text."""
_NO_STRUCTURE = {"id", "split", "plate", "well"}
_NAME = re.compile(r"[\w][\w.\-]*")


@dataclass(frozen=True)
class Preparation:
    """Everything that becomes of `source` lies in `folder`: a job folder for each step, the tables, the store.

    `tasks`, `id_col`, `smiles_col` are the commands' flags; '' for their defaults.
    """

    folder: Path
    source: Path
    tasks: str = ""
    id_col: str = ""
    smiles_col: str = ""

    def job(self, step: str) -> Path:
        """Job folder of a step."""
        return self.folder / step

    @property
    def imported(self) -> Path:
        """The table that an import writes."""
        return self.folder / "imported.parquet"

    @property
    def folded(self) -> Path:
        """The table with folds."""
        return self.folder / "folded.parquet"

    @property
    def findings(self) -> Path:
        """What the doctor found."""
        return self.job("doctor") / "findings.json"

    @property
    def fold_report(self) -> Path:
        """How good the folds are."""
        return self.job("folds") / "folds.json"

    @property
    def store(self) -> Path:
        """The bag store."""
        return self.folder / "store"

    @property
    def _flags(self) -> list[str]:
        given = {name: getattr(self, name) for name in ("tasks", "id_col", "smiles_col")}
        return [word for name, value in given.items() if value for word in (f"--{name}", value)]

    def import_command(self) -> list[str]:
        """Read the EUOS25 files in the folder `source` as one table."""
        return ["import", "euos25", str(self.source), "--out", str(self.imported)]

    def doctor_command(self) -> list[str]:
        """Examine the source."""
        return ["doctor", str(self.source), "--json", str(self.findings), *self._flags]

    def folds_command(self, by: str, folds: int, seed: int = 0) -> list[str]:
        """Make folds and write them beside the source's columns."""
        options = ["--by", by, "--folds", str(folds), "--seed", str(seed), "--json", str(self.fold_report)]
        return ["folds", str(self.source), "--out", str(self.folded), *options, *self._flags]

    def prepare_command(
        self, sets_2d: Sequence[str], sets_3d: Sequence[str], conformers: int, mmff: int = 0, with_folds: bool = False
    ) -> list[str]:
        """Make the store, of the folded table where that is wanted; a ConfigError where no folds were made."""
        if with_folds and not self.folded.is_file():
            raise ConfigError("folds", "none were made", do="make some first, or prepare without")
        source = self.folded if with_folds else self.source
        command = ["prepare", str(source), "--out", str(self.store), "--conformers", str(conformers), "--mmff", str(mmff)]
        for flag, names in (("--sets_2d", sets_2d), ("--sets_3d", sets_3d)):
            if not names:
                raise ConfigError(flag, "names no set", do="choose at least one")
            command += [flag, *names]
        return [*command, *self._flags]


def folder_named(root: Path, name: str) -> Path:
    """Where the data set of this name goes in the workspace `root`; a name that is none is a ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError("name", got=name, want="letters, digits, - _ .")
    return root / name


def found_at(root: Path, text: str) -> Path:
    """The file or folder that a user means by `text`: one of the workspace `root`, or of this machine."""
    path = Path(text.strip()).expanduser()
    below = root / path
    return below if below.exists() or not path.exists() else path


def name_for(path: Path) -> str:
    """What a data set made of `path` is called unless the user says otherwise."""
    inside_of_one = (path / "manifest.json").is_file() or path.stem in {"imported", "folded"}
    return re.sub(r"[^\w.\-]+", "_", path.parent.name if inside_of_one else path.stem) or "data"


def files_below(root: Path, depth: int = DEPTH) -> list[Path]:
    """Files below `root` that can be prepared, at most `MOST_FILES`; not those of stores, studies and unfinished work, nor
    tables that have no text to be a SMILES, such as predictions.
    """
    if not root.is_dir() or (root / "manifest.json").is_file() or (root / STUDY_FILE).is_file():
        return []
    found, folders = [], []
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name.endswith(".work"):
            continue
        if path.is_dir():
            folders.append(path)
        elif path.suffix in SUFFIXES and _may_hold_molecules(path):
            found.append(path)
    for folder in folders if depth else ():
        found += files_below(folder, depth - 1)
    return found[:MOST_FILES]


def _may_hold_molecules(path: Path) -> bool:
    """Whether a file is no table, or one with a column of text that can be SMILES, or cannot be read: to choose it says why."""
    try:
        if path.suffix == ".parquet":
            texts = [field.name for field in pq.read_schema(path) if _is_text(field.type)]
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                first = list(islice(csv.DictReader(file), _ROWS))
            texts = [name for row in first for name, value in row.items() if name and not _is_number(value)] if first else None
        else:
            texts = None
    except (pa.ArrowException, OSError, csv.Error):
        return True
    return texts is None or any(name.lower() not in _NO_STRUCTURE for name in texts)


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _is_number(text: str | None) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True
