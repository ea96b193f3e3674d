"""`milbench doctor --study`: whether a study is sound; what can be mended is, after a backup. Loads Optuna, no torch."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import TrialState

from milbench.data.finding import Finding
from milbench.errors import MilbenchError
from milbench.files import atomic_path
from milbench.run_config import ARTIFACT_PREFIX, OOF_FILE
from milbench.storage_url import STUDY_FILE, journal_path, sqlite_path, where
from milbench.training.claims import WORKER, Claims, finished
from milbench.training.lease import lease
from milbench.training.storage import load_study, torn_lines, whole_record
from milbench.trial_tables import FAILURE

_RECORD = b'{"op_code"'


def examine_study(target: str, repair: bool) -> list[Finding]:
    """What is odd about a study, named by its folder, file or URL; `repair` mends what can be mended."""
    folder = Path(target) if Path(target).is_dir() else None
    url = where(folder) if folder is not None else target
    file = folder / STUDY_FILE if folder is not None and url is None else sqlite_path(url or "") or Path(url or "")
    journal = journal_path(url or "")
    found = list(_journal(journal, repair)) if journal is not None else list(_database(file)) if file.is_file() else []
    if any(finding.severity == "error" for finding in found):
        return found
    try:
        study = load_study(folder or Path(), f"sqlite:///{file.absolute()}" if file.is_file() and journal is None else url)
    except MilbenchError as error:
        return [*found, Finding("study", "error", str(error))]
    found += _trials(study, folder, repair)
    return found + ([] if folder is None else list(_artifacts(study, folder)))


def _journal(path: Path, repair: bool) -> Iterator[Finding]:
    torn = torn_lines(path)
    if not torn:
        return
    what = f"{path}: line {', '.join(map(str, torn))} is torn, so nobody can read the study"
    if not repair:
        yield Finding("journal", "error", what, do="mend it: the same command with --repair")
        return
    backup = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
    shutil.copy2(path, backup)
    lines = [_mended(line) for line in path.read_bytes().splitlines(keepends=True)]
    with atomic_path(path) as partial:
        partial.write_bytes(b"".join(lines))
    yield Finding("journal", "warning", what, f"The line was dropped; the file as it was is {backup}.")


def _mended(line: bytes) -> bytes:
    """A line if it is whole, else the whole record that was appended to a torn one, else nothing."""
    if whole_record(line):
        return line
    rest = line[line.rfind(_RECORD) :] if _RECORD in line else b""
    return rest if whole_record(rest) else b""


def _database(path: Path) -> Iterator[Finding]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as live:
            said = [row[0] for row in live.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    if said != ["ok"]:
        yield Finding("file", "error", f"{path}: {said[0]}", do="move it away, or bring back a copy")


def _trials(study: optuna.Study, folder: Path | None, repair: bool) -> Iterator[Finding]:
    trials = study.get_trials(deepcopy=False)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    gone = _gone(study, folder, repair) if folder is not None and running else 0
    if gone:
        what = f"{gone} trial(s) of workers that are gone {'were' if repair else 'are'} RUNNING"
        do = "" if repair else "The next start runs them again; --repair marks them now."
        yield Finding("workers", "info" if repair else "warning", what, do=do)
    if len(running) > gone:
        nameless = sum(WORKER not in trial.user_attrs for trial in running)
        yield Finding("workers", "info", f"{len(running) - gone} trial(s) are running, {nameless} by others than milbench")
    failed = [trial.user_attrs[FAILURE] for trial in trials if FAILURE in trial.user_attrs]
    if failed:
        yield Finding("failures", "info", f"{len(failed)} trial(s) failed, the last one: {failed[-1]}")
    if "settings" not in study.user_attrs:
        yield Finding("settings", "warning", "the study's settings are not recorded", "Trials may not be comparable.")
    yield Finding("trials", "info", f"{finished(study)} finished of {len(trials)}")


def _gone(study: optuna.Study, folder: Path, repair: bool) -> int:
    """How many RUNNING trials belong to workers that are gone; with `repair` they are failed."""
    with lease(folder / "workers") as own:
        claims = Claims(study, own)
        return claims.reap() if repair else len(claims.gone())


def _artifacts(study: optuna.Study, folder: Path) -> Iterator[Finding]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return
    oof = folder / OOF_FILE
    missing = [path.name for path in (oof, folder / f"{ARTIFACT_PREFIX}_best_params.json") if not path.is_file()]
    do = "Run the study's command again: it writes them."
    if missing:
        yield Finding("artifacts", "warning", f"{', '.join(missing)}: not there", do=do)
    if oof.is_file() and (number := int(pd.read_parquet(oof, columns=["trial"])["trial"].iloc[0])) != study.best_trial.number:
        yield Finding("artifacts", "warning", f"{oof} is of trial {number}, the best one is {study.best_trial.number}")
