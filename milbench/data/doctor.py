"""The doctor: looks at a data set before anything is trained on it, and says what it found, what that means and what to do.

Every check is one small function in `doctor_labels`, `doctor_plates`, `doctor_molecules` or `doctor_features`. Thresholds stand
there with their reasons; those of statistical checks are set so that clean data raise a false warning in about one examination
in a hundred.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from milbench.columns import Columns
from milbench.data import doctor_features, doctor_labels, doctor_molecules, doctor_plates
from milbench.data.finding import Finding
from milbench.data.labelled import SMILES_COLUMNS, Labelled, read_labelled
from milbench.data.tables import open_table
from milbench.errors import ConfigError
from milbench.progress import progress
from milbench.tasks import TaskSet

EXIT = {"info": 0, "warning": 1, "error": 2}


@dataclass(frozen=True)
class Features:
    """Feature arrays of the M molecules of a patient, plain or memory-mapped.

    x2d [M, F2], xinst [R, F3], offsets [M+1] (instances of each molecule), names of the columns.
    """

    x2d: np.ndarray
    names2d: tuple[str, ...]
    xinst: np.ndarray
    names_inst: tuple[str, ...]
    offsets: np.ndarray


@dataclass(frozen=True)
class Patient:
    """What is examined: molecules with labels, their features where there are any, and what is known from reading them."""

    molecules: Labelled
    features: Features | None = None
    known: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Habits:
    """How the doctor looks. `groups`: further columns that may betray the label, as a plate does; `id_block`: IDs on a plate,
    for data without a plate column (352: a 384-well plate less two columns of controls); `duplicates`: compare the molecules by
    InChIKey (about 0.3 ms each); `workers`: processes for that.
    """

    groups: tuple[str, ...] = ()
    id_block: int = 352
    duplicates: bool = True
    seed: int = 0
    workers: int = 1


@dataclass(frozen=True)
class Examination:
    """All findings about `source`, the gravest first."""

    source: str
    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """Exit status: 0 clean, 1 warnings, 2 errors."""
        return max((EXIT[finding.severity] for finding in self.findings), default=0)

    def lines(self) -> list[str]:
        """The findings in words, and their count."""
        counts = {severity: sum(finding.severity == severity for finding in self.findings) for severity in ("error", "warning")}
        summary = ", ".join(f"{count} {severity}{'s' * (count != 1)}" for severity, count in counts.items())
        return [line for finding in self.findings for line in finding.lines()] + [f"{self.source}: {summary}"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"source": self.source, "status": self.status, "findings": [finding.to_dict() for finding in self.findings]}


def examine(patient: Patient, habits: Habits | None = None) -> Examination:
    """Run every check that the patient's data allow."""
    checks = _checks(patient, habits or Habits())
    findings = list(patient.known)
    with progress("doctor", len(checks)) as advance:
        for done, (name, check) in enumerate(checks):
            advance(done, name)
            findings += check
    findings.sort(key=lambda finding: -EXIT[finding.severity])
    return Examination(patient.molecules.source, tuple(findings))


def _checks(patient: Patient, habits: Habits) -> list[tuple[str, Iterator[Finding]]]:
    """What is looked at, and the findings, which are made as they are asked for."""
    molecules, features = patient.molecules, patient.features
    checks = [("labels", doctor_labels.label_findings(molecules))]
    groupings = doctor_plates.groupings(molecules, habits.groups, habits.id_block)
    checks += [(grouping.name, doctor_plates.plate_findings(molecules, grouping, habits.seed)) for grouping in groupings]
    if not groupings:
        checks.append(("plates", iter([doctor_plates.NO_GROUPS])))
    if habits.duplicates:
        checks.append(("duplicates", doctor_molecules.duplicate_findings(molecules, habits.workers)))
    if features is not None:
        alone = np.arange(len(molecules) + 1)
        checks.append(("bags", doctor_labels.bag_findings(molecules, features.offsets)))
        checks.append(("2D columns", _columns("2D", features.x2d, features.names2d, alone, molecules, habits.seed)))
        instances = features.xinst, features.names_inst, features.offsets
        checks.append(("instance columns", _columns("instance", *instances, molecules, habits.seed)))
    return checks


def _columns(
    table: str, x: np.ndarray, names: tuple[str, ...], offsets: np.ndarray, molecules: Labelled, seed: int
) -> Iterator[Finding]:
    columns = doctor_features.survey(x, offsets, molecules.split)
    yield from doctor_features.column_findings(table, names, columns, in_bags=table == "instance")
    yield from doctor_features.scaling_findings(table, names, columns)
    yield from doctor_features.leak_findings(table, names, columns.means, molecules, seed)


def open_store(folder: str | Path) -> Patient:
    """A bag store as a patient; its features stay on disk, memory-mapped."""
    from milbench.data.store import load_store  # loads torch

    bags, tasks = load_store(folder, mmap=True)
    molecules = read_labelled(folder, tasks)
    features = Features(bags.x2d.numpy(), bags.names2d, bags.xinst.numpy(), bags.names_inst, bags.offsets.numpy())
    return Patient(molecules, features, _notes(bags.notes))


def open_tables(
    labels: str | Path,
    feat2d: str | Path | None,
    instances: Sequence[str | Path],
    tasks: TaskSet,
    columns: Columns | None = None,
) -> Patient:
    """Tables as a patient: the labels table, and with it the 2D and instance tables where they are given."""
    columns = columns or Columns()
    if (feat2d is None) != (not instances):
        raise ConfigError("--feat2d, --instances", "one is given without the other", do="give both, or the labels table alone")
    molecules = read_labelled(labels, tasks, columns)
    overlap = tuple(_overlap(molecules, [path for path in (feat2d, *instances) if path is not None], columns))
    overlap = (*_origin(Path(labels)), *overlap)
    if feat2d is None:
        return Patient(molecules, None, overlap)
    from milbench.data.assemble import TableOptions, load_tables  # loads torch

    options = TableOptions(columns, keep_empty_bags=True, allow_missing_features=True)
    bags = load_tables(labels, feat2d, instances, tasks, options)
    kept = molecules.take(pd.Index(molecules.ids).get_indexer(pd.Index(bags.ids)))
    features = Features(bags.x2d.numpy(), bags.names2d, bags.xinst.numpy(), bags.names_inst, bags.offsets.numpy())
    return Patient(kept, features, (*overlap, *_notes(bags.notes)))


def _origin(labels: Path) -> tuple[Finding, ...]:
    """What `milbench import` found in the published files, which it leaves in the Parquet file that it writes."""
    if labels.suffix != ".parquet":
        return ()
    stored = (pq.read_schema(labels).metadata or {}).get(b"PANDAS_ATTRS", b"{}")
    notes = json.loads(stored).get("notes", [])
    means = "The table was imported from published files; this is what was odd or noteworthy in them."
    what = "; ".join(notes)
    return (Finding("import", "info", what, means, "Check that each is meant.", {"notes": notes}),) if notes else ()


def _notes(notes: Sequence[str]) -> tuple[Finding, ...]:
    if not notes:
        return ()
    means = "Rows were dropped, averaged or left out when the tables were joined."
    return (Finding("notes", "info", "; ".join(notes), means, "Check that each is meant.", {"notes": list(notes)}),)


def _overlap(molecules: Labelled, paths: Sequence[str | Path], columns: Columns) -> Iterator[Finding]:
    """IDs that are in the labels table or in a feature table, but not in both."""
    for path in paths:
        there = np.unique(open_table(path, (columns.id, columns.conf, *SMILES_COLUMNS)).text(columns.id).astype(str))
        lacking = np.setdiff1d(molecules.ids.astype(str), there)
        more = np.setdiff1d(there, molecules.ids.astype(str))
        if not len(lacking) and not len(more):
            continue
        what = f"{path}: {len(lacking):,} labelled molecules are not in it, {len(more):,} of its molecules have no label row"
        means = "A molecule that is not in every table is left out of training, or predicted from 2D alone."
        do = f"Look at {', '.join([*lacking[:3], *more[:3]])}: a failed computation, or IDs written in two ways?"
        details = {"table": str(path), "without_features": lacking[:100].tolist(), "without_labels": more[:100].tolist()}
        yield Finding("ids", "warning" if len(lacking) else "info", what, means, do, details)
