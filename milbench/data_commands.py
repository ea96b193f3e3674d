"""`milbench import | submit | folds | doctor`: what each is asked to do, and doing it: (lines to print, exit status).

Loads neither torch nor RDKit before a command needs them.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from milbench.columns import Columns
from milbench.errors import ConfigError, DataError
from milbench.flags import Average, OptionalPath, OptionalText
from milbench.run_config import at_least
from milbench.tasks import load_tasks

if TYPE_CHECKING:
    from milbench.data.averaging import Stack

log = logging.getLogger(__name__)
Said = tuple[list[str], int]
"""Lines to print, and the exit status."""


@dataclass(frozen=True)
class ImportConfig:
    """The published files of a challenge as one labels table, their quirks named."""

    kind: Annotated[Literal["euos25"], tyro.conf.Positional]
    """Which challenge: euos25."""
    folder: Annotated[Path, tyro.conf.Positional]
    """Folder with the files as published (get them on https://ochem.eu/static/challenge2025.do); extended and leaderboard
    files are used where they are there."""
    out: Path
    """Table to write (.parquet or .csv)."""


@dataclass(frozen=True)
class SubmitConfig:
    """Predictions in the submission format of a challenge: one row a test molecule, in the order of its test file."""

    kind: Annotated[Literal["euos25"], tyro.conf.Positional]
    """Which challenge: euos25."""
    predictions: Annotated[Path, tyro.conf.Positional]
    """Table with ID and pred_<endpoint>."""
    folder: Annotated[Path, tyro.conf.Positional]
    """Folder with the challenge's files."""
    out: Path
    """File to write (.csv)."""
    also: tuple[Path, ...] = ()
    """Further predictions of the same molecules; what is submitted is the average of all (other models or seeds)."""
    average: Average = "mean"
    """Of probabilities; of their logits, so that every model ranks a rare endpoint alike; or a stack, which --oof fits."""
    oof: tuple[Path, ...] = ()
    """Out-of-fold tables of the same models, in their order: what --average stack is fitted on (`milbench score` scores it)."""
    with_ids: bool = False
    """Keep the ID as first column, for yourself; the challenge takes none."""

    def __post_init__(self) -> None:
        want = 1 + len(self.also) if self.average == "stack" else 0
        if len(self.oof) != want:
            models = f"{want} tables, one for each of predictions" if want else "none without --average stack"
            raise ConfigError("--oof", got=len(self.oof), want=models)


@dataclass(frozen=True)
class FoldsConfig:
    """Folds for cross-validation, as a column cv_fold, with a report of their quality."""

    source: Annotated[Path, tyro.conf.Positional]
    """Labels table (.parquet, .csv) or bag store."""
    out: Path
    """Table to write: the source's columns (of a store: its molecules) and cv_fold."""
    by: str = "stratified"
    """stratified (over label patterns), scaffold, cluster (fingerprint k-means), or a column whose values stay together."""
    folds: int = 5
    """How many."""
    min_positives: int = 1
    """Positives of each endpoint that every fold must have; else folds are refused."""
    use_splits: tuple[str, ...] = ("train",)
    """Splits whose molecules get a fold; the others have none."""
    clusters: int = 0
    """Clusters of --by cluster; 0: one for 20 molecules, at most 500."""
    sample: int = 300
    """Molecules a fold whose nearest training molecule is looked for; 0: none."""
    tasks: str = "euos25"
    """What is predicted: euos25, or a .toml or .json file that declares endpoints."""
    id_col: str = "ID"
    """Name of the ID column."""
    smiles_col: OptionalText = None
    """Name of the SMILES column; default: curated_SMILES, smiles or SMILES."""
    split_col: str = "split"
    """Name of the split column."""
    fold_col: str = "cv_fold"
    """Name of the fold column to write."""
    seed: int = 0
    """Seed of the folds."""
    workers: int = 1
    """Processes for scaffolds and fingerprints."""
    json: OptionalPath = None
    """Write the report here too."""

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("workers", 1), ("sample", 0), ("clusters", 0), ("min_positives", 0)):
            at_least(f"--{name}", getattr(self, name), least)


@dataclass(frozen=True)
class DoctorConfig:
    """A look at the data before training: what was found, what it means, what to do. Exit 0 clean, 1 warnings, 2 errors.

    With --study it looks at a study instead.
    """

    source: Annotated[Path, tyro.conf.Positional] = Path()
    """Bag store, or labels table (.parquet, .csv)."""
    study: OptionalText = None
    """A study's folder, file or storage URL, instead of data."""
    repair: bool = False
    """Mend the study: torn lines of a journal (after a backup), trials of workers that are gone."""
    feat2d: OptionalPath = None
    """2D table that goes with the labels table."""
    instances: tuple[Path, ...] = ()
    """Instance tables that go with it."""
    groups: tuple[str, ...] = ()
    """Further columns that may betray the label as a plate does (batch, vendor); `plate` is looked at anyway."""
    id_block: int = 352
    """Consecutive IDs taken as a plate where there is no plate column."""
    duplicates: bool = True
    """Compare molecules by InChIKey."""
    tasks: str = "euos25"
    """What is predicted: euos25, or a .toml or .json file that declares endpoints. A store has its own."""
    id_col: str = "ID"
    """Name of the ID column."""
    conf_col: str = "conf_id"
    """Name of the conformer column."""
    smiles_col: OptionalText = None
    """Name of the SMILES column; default: curated_SMILES, smiles or SMILES."""
    split_col: str = "split"
    """Name of the split column."""
    seed: int = 0
    """Seed of what is drawn."""
    workers: int = 1
    """Processes for InChIKeys."""
    json: OptionalPath = None
    """Write the findings here too."""

    def __post_init__(self) -> None:
        for name in ("workers", "id_block"):
            at_least(f"--{name}", getattr(self, name), 1)


def run_import(config: ImportConfig) -> Said:
    """Import a challenge's files."""
    from milbench.data.euos25 import import_euos25
    from milbench.files import write_table

    imported = import_euos25(config.folder)
    imported.frame.attrs["notes"] = list(imported.notes)  # travels inside a Parquet file, for the doctor
    write_table(config.out, imported.frame)
    return [*imported.lines(), f"written: {config.out}"], 0


def run_submit(config: SubmitConfig) -> Said:
    """Write a submission."""
    from milbench.data.averaging import WORDS, averaged
    from milbench.data.euos25_submission import SUBMISSION, submission, submission_order
    from milbench.data.tables import read_table
    from milbench.files import write_table

    if config.out.suffix != ".csv":
        raise ConfigError("--out", got=str(config.out), want="a .csv file, which the challenge takes")
    order = submission_order(config.folder)
    paths = (config.predictions, *config.also)
    tables = [submission(read_table(path, ("ID",)), order, with_ids=config.with_ids) for path in paths]
    names = list(SUBMISSION.values())
    table = tables[0].copy()
    parts = [one[names].to_numpy() for one in tables]
    table[names] = _stack(config.oof)(parts) if config.oof else averaged(parts, config.average)
    write_table(config.out, table)
    mean = f"the {WORDS[config.average]} of {len(tables)} tables, " if config.also or config.oof else ""
    said = f"{mean}{len(table):,} rows in the order of the test file: {', '.join(table.columns)}"
    return [f"written: {config.out}, {said}"], 0


def _stack(paths: tuple[Path, ...]) -> "Stack":
    """The stack of the models that these out-of-fold tables are of, for EUOS25."""
    from milbench.data.averaging import fit_stack, told
    from milbench.data.results import aligned, out_of_fold, read_result
    from milbench.tasks import EUOS25

    results = [read_result(path, path.parent.name, "out of fold") for path in paths]
    for path, result in zip(paths, results, strict=True):
        if result.names != EUOS25.names:
            raise DataError(path, "other endpoints", got=", ".join(result.names), want=", ".join(EUOS25.names))
    same = aligned(results)
    out_of_fold(same)
    log.info("a stack of %d models, fitted on %d molecules", len(same), len(same[0].ids))
    stack = fit_stack([result.p for result in same], same[0].y)
    told(stack.plain, EUOS25.names)
    return stack


def run_folds(config: FoldsConfig) -> Said:
    """Make folds and write them."""
    import numpy as np

    from milbench.data.grouping import FoldPlan, make_folds
    from milbench.data.labelled import read_labelled
    from milbench.files import write_json, write_table

    columns = Columns(id=config.id_col, split=config.split_col, fold=config.fold_col, smiles=config.smiles_col)
    molecules = read_labelled(config.source, load_tasks(config.tasks), columns)
    used = np.flatnonzero(np.isin(molecules.split, config.use_splits))
    if not used.size:
        there = ", ".join(dict.fromkeys(molecules.split.tolist()))
        raise ConfigError("--use_splits", got=", ".join(config.use_splits), want=f"splits of {config.source}: {there}")
    log.info("folds: %d molecules by %s", used.size, config.by)
    plan = FoldPlan(config.by, config.folds, config.seed, config.min_positives, config.clusters, config.sample, config.workers)
    fold, report = make_folds(molecules.take(used), plan)
    frame = molecules.table.frame()
    column = np.full(len(frame), -1, dtype=np.int64)
    column[used] = fold
    frame[config.fold_col] = column
    write_table(config.out, frame)
    if config.json is not None:
        write_json(config.json, {"by": config.by, "seed": config.seed, "folds": report.table().to_dict("records")})
    without = f"; {len(frame) - used.size:,} molecules of other splits have none (-1)" if used.size < len(frame) else ""
    return [*report.lines(), f"written: {config.out}, column {config.fold_col}{without}"], 0


def run_doctor(config: DoctorConfig) -> Said:
    """Examine a store or tables, or a study."""
    if config.study is not None:
        return _run_study_doctor(config)
    if config.source == Path():
        raise ConfigError("doctor", "nothing to look at", want="a bag store, a labels table, or --study FOLDER")
    from milbench.data.doctor import Habits, examine, open_store, open_tables
    from milbench.files import write_json

    if config.source.is_dir():
        if config.feat2d is not None or config.instances:
            raise ConfigError("--feat2d, --instances", "a bag store has its own features", do="leave them out")
        patient = open_store(config.source)
    else:
        columns = Columns(id=config.id_col, conf=config.conf_col, split=config.split_col, smiles=config.smiles_col)
        patient = open_tables(config.source, config.feat2d, config.instances, load_tasks(config.tasks), columns)
    log.info("doctor: %d molecules", len(patient.molecules))
    habits = Habits(config.groups, config.id_block, config.duplicates, config.seed, config.workers)
    found = examine(patient, habits)
    if config.json is not None:
        write_json(config.json, found.to_dict())
    return found.lines(), found.status


def _run_study_doctor(config: DoctorConfig) -> Said:
    from milbench.files import write_json
    from milbench.study_doctor import examine_study

    found = examine_study(str(config.study), config.repair)
    if config.json is not None:
        write_json(config.json, [finding.to_dict() for finding in found])
    worst = {finding.severity for finding in found}
    return [line for finding in found for line in finding.lines()], 2 if "error" in worst else int("warning" in worst)
