"""What lies below a folder such as runs/: bag stores, studies, final models, jobs. Reads files alone; loads no torch.

The apps show this and nothing else, so a reload, a second browser and a crash all see the same.
"""

import os
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milbench.errors import DataError, StudyError
from milbench.files import is_alive, read_json
from milbench.jobs import JOB, STATUS, STUDIES, JobState, jobs_in, read_job, state_of
from milbench.run_config import FINAL_FOLDER, METRICS_FILE, OOF_FILE, PREDICTIONS_FILE, REPORT_FILE
from milbench.slurm import LOG
from milbench.storage_url import STUDY_FILE, STUDY_NAME, WHERE_FILE, journal_path, opened_as, shown, sqlite_path, where

if TYPE_CHECKING:
    import optuna

DEPTH = 6
"""Folders below the root that are looked into."""
PREDICTIONS = (OOF_FILE, f"{FINAL_FOLDER}/{PREDICTIONS_FILE}")
"""Tables that can be scored."""
ROOT_VARIABLE = "MILBENCH_ROOT"
"""Environment variable through which `milbench serve` tells the apps their workspace."""

WRITABLE_VARIABLE = "MILBENCH_WRITABLE"
"""Set where `milbench serve` lets optuna-dashboard change studies."""


@dataclass(frozen=True)
class StoreInfo:
    """A bag store, as its manifest describes it. `simulated`: the demo, whose key conformers are known."""

    folder: Path
    name: str
    tasks: tuple[str, ...]
    molecules: int
    conformers: int
    features_2d: int
    features_3d: int
    coordinates: bool
    simulated: bool
    made: float
    content: str


@dataclass(frozen=True)
class StudyInfo:
    """A study's folder at a glance. `states`: trials by state; `state`, `stage`: what its run is doing, '' where unknown."""

    folder: Path
    name: str
    store: str
    states: dict[str, int]
    best_value: float | None
    best_trial: int | None
    budget: int | None
    state: str
    stage: str
    updated: float

    @property
    def finished(self) -> int:
        """Trials that count towards the budget."""
        return self.states.get("COMPLETE", 0) + self.states.get("PRUNED", 0)


@dataclass(frozen=True)
class FinalInfo:
    """A final model and its scores; `leaderboard`, `monitored` as in leaderboard_eval.json."""

    folder: Path
    name: str
    study: Path
    monitored: dict[str, Any]
    leaderboard: dict[str, Any] | None
    note: str
    made: float


@dataclass(frozen=True)
class Workspace:
    """Everything found below `root`, the newest first. `problems`: what could not be read, one line each; `scored`: folders
    with predictions to score, of studies and of other runs (baselines).
    """

    root: Path
    stores: tuple[StoreInfo, ...]
    studies: tuple[StudyInfo, ...]
    finals: tuple[FinalInfo, ...]
    jobs: tuple[JobState, ...]
    problems: tuple[str, ...]
    scored: tuple[Path, ...] = ()


def scan(root: str | Path) -> Workspace:
    """Look through `root`; a folder that is not there is an empty workspace. Unchanged files are not read again."""
    root = Path(root)
    stores, studies, finals, problems, scored = [], [], [], [], []
    for folder in _folders(root, DEPTH):
        try:
            if (folder / "manifest.json").is_file():
                stores.append(store_info(root, folder))
            if is_study(folder) and not is_final_alone(folder):
                studies.append(study_info(root, folder))
            if any((folder / name).is_file() for name in PREDICTIONS):
                scored.append(folder)
            if (folder / FINAL_FOLDER / REPORT_FILE).is_file():
                finals.append(final_info(root, folder))
        except (DataError, StudyError) as error:
            problems.append(str(error))
    newest = {"key": lambda info: -info.made, "reverse": False}
    return Workspace(
        root,
        tuple(sorted(stores, **newest)),
        tuple(sorted(studies, key=lambda info: -info.updated)),
        tuple(sorted(finals, **newest)),
        tuple(jobs_in(root)),
        tuple(problems),
        tuple(sorted(scored, key=lambda folder: -folder.stat().st_mtime)),
    )


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """`folder` and those below it; neither hidden ones nor what lies inside a store, a study or unfinished work."""
    if not folder.is_dir():
        return
    yield folder
    if not depth or (folder / "manifest.json").is_file() or is_study(folder):
        return
    with os.scandir(folder) as entries:
        below = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for name in below:
        if not name.endswith(".work"):
            yield from _folders(folder / name, depth - 1)


def stores_for(workspace: Workspace, run: Path) -> list[str]:
    """Names of the stores with the endpoints of the one that `run` was trained on, that one first; of all, where it is gone."""
    own = _trained_on(workspace, run)
    alike = [store for store in workspace.stores if not own or store.tasks == own[0].tasks]
    return list(dict.fromkeys(store.name for store in [*own, *alike]))


def data_of(workspace: Workspace, run: Path) -> str:
    """What `run` was trained on, in words; '' where that is not here."""
    store = next(iter(_trained_on(workspace, run)), None)
    return "" if store is None else f"Data set {store.name}" + (", its endpoints simulated" if store.simulated else "")


def _trained_on(workspace: Workspace, run: Path) -> list[StoreInfo]:
    """The stores that the address of the one that `run` was trained on can mean."""
    told = [part for part in Path(run_arguments(run).get("store") or "").parts if part not in {"/", ".", ".."}]
    return [store for store in workspace.stores if told and [*store.folder.resolve().parts][-len(told) :] == told]


def searches(root: Path) -> list[Path]:
    """Folders of the studies below `root` and of the jobs that will make one, the newest job first; no final models."""
    begun = [job.folder for job in jobs_in(root) if job.kind in STUDIES and not is_final_alone(job.folder)]
    return list(dict.fromkeys([*begun, *(folder.absolute() for folder in study_folders(root))]))


def study_folders(root: Path) -> list[Path]:
    """Folders below `root` in which a study lies."""
    return [folder for folder in _folders(root, DEPTH) if study_url(folder) is not None]


def is_study(folder: Path) -> bool:
    """Whether a study lies in `folder`, or a run or job that will make one."""
    if any((folder / name).is_file() for name in (STUDY_FILE, METRICS_FILE, WHERE_FILE)):
        return True
    return (folder / JOB).is_file() and read_job(folder).command[0] in STUDIES


def is_final_alone(folder: Path) -> bool:
    """Whether the run in `folder` trains a final model on given parameters: no study of trials is or will be there."""
    if study_url(folder) is not None:
        return False
    told = run_arguments(folder)
    if told:
        return not told.get("run_hpo")
    command = read_job(folder).command if (folder / JOB).is_file() else ()
    return bool(command) and command[0] == "run" and "--run_hpo" not in command


def name_of(root: Path, folder: Path) -> str:
    """What people call a folder of the workspace: its path below the root."""
    inside = folder.resolve().relative_to(root.resolve()) if folder.resolve().is_relative_to(root.resolve()) else folder
    return inside.as_posix()


def store_info(root: Path, folder: Path) -> StoreInfo:
    """A store at a glance; a manifest that is none of a store's is a DataError."""
    path = folder / "manifest.json"
    return _store_info(root, folder, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _store_info(root: Path, folder: Path, mtime: int) -> StoreInfo:
    manifest = read_json(folder / "manifest.json")
    try:
        return StoreInfo(
            folder=folder,
            name=name_of(root, folder),
            tasks=tuple(endpoint["name"] for endpoint in manifest["tasks"]["endpoints"]),
            molecules=manifest["counts"]["molecules"],
            conformers=manifest["counts"]["conformers"],
            features_2d=len(manifest["features_2d"]),
            features_3d=len(manifest["features_3d"]),
            coordinates="coordinates.npy" in manifest["files"],
            simulated=bool(manifest.get("provenance", {}).get("simulated")),
            made=mtime / 1e9,
            content=manifest["content"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(folder / "manifest.json", f"is not a bag store's ({error})", do="prepare it again") from error


def final_info(root: Path, study: Path) -> FinalInfo:
    """A final model at a glance."""
    path = study / FINAL_FOLDER / REPORT_FILE
    report, made = read_json(path), path.stat().st_mtime
    monitored, leaderboard = report.get("monitored"), report.get("leaderboard")
    if not isinstance(monitored, dict):
        raise DataError(path, "is not a final model's report", do="train it again")
    return FinalInfo(path.parent, name_of(root, study), study, monitored, leaderboard, report.get("note", ""), made)


def study_info(root: Path, folder: Path) -> StudyInfo:
    """A study at a glance; one that cannot be opened is a StudyError."""
    states, best = study_figures(folder)
    arguments = run_arguments(folder)
    state, stage, updated = run_status(folder)
    return StudyInfo(
        folder=folder,
        name=name_of(root, folder),
        store=str(arguments.get("store") or arguments.get("labels") or ""),
        states=states,
        best_value=None if best is None else best[1],
        best_trial=None if best is None else best[0],
        budget=arguments.get("trials") if arguments.get("run_hpo") else None,
        state=state,
        stage=stage,
        updated=updated,
    )


def study_progress(study: StudyInfo) -> str:
    """How far a study is, in words."""
    total = f" of {study.budget}" if study.budget else ""
    return f"{study.finished}{total} trial{'s' if (study.budget or study.finished) != 1 else ''} done"


def run_arguments(folder: Path) -> dict[str, Any]:
    """What the run in `folder` was asked to do, {} before it has read its data."""
    path = folder / "run_meta.json"
    return read_json(path).get("arguments", {}) if path.is_file() else {}


def run_status(folder: Path) -> tuple[str, str, float]:
    """(state, stage, when it last said so) of the run in `folder`, whether it was started as a job or on a terminal.

    A run whose process is gone without a word is `lost`; a folder without a run has state ''.
    """
    times = [file.stat().st_mtime for name in (STATUS, METRICS_FILE, STUDY_FILE) if (file := folder / name).is_file()]
    updated = max(times, default=folder.stat().st_mtime)
    if (folder / JOB).is_file():
        job = state_of(folder)
        return job.state, job.stage, updated
    if not (folder / STATUS).is_file():
        return "", "", updated
    status = read_json(folder / STATUS)
    here = status.get("host", socket.gethostname()) == socket.gethostname()
    if status.get("state") == "running" and here and not is_alive(int(status.get("pid", 0))):
        return "lost", f"ended without a word while at: {status.get('stage', '')}", updated
    return status.get("state", ""), status.get("stage", ""), updated


def study_figures(folder: Path) -> tuple[dict[str, int], tuple[int, float] | None]:
    """Trials by state (Optuna's, or INTERRUPTED), and (number, value) of the best complete one.

    {} and None before there is a study.
    """
    from milbench.trial_tables import state_word

    states: dict[str, int] = {}
    best: tuple[int, float] | None = None
    study = _loaded(folder)
    for trial in () if study is None else study.get_trials(deepcopy=False):
        state = state_word(trial).upper()
        states[state] = states.get(state, 0) + 1
        if trial.state.name == "COMPLETE" and trial.value is not None and (best is None or trial.value > best[1]):
            best = trial.number, trial.value
    return states, best


def open_study(folder: Path) -> "optuna.Study":
    """The study of `folder`, to be read; finished trials are read once. One that cannot be opened is a StudyError."""
    study = _loaded(folder)
    if study is None:
        raise StudyError(folder, f"holds no study (no {STUDY_FILE})", do="launch one")
    return study


def study_url(folder: Path) -> str | None:
    """Address of a folder's study: its own file, or what its run was given; None where there is none."""
    if (folder / STUDY_FILE).is_file():
        return f"sqlite:///{folder.resolve() / STUDY_FILE}"
    url = where(folder)
    return None if url is None else opened_as(url)


def study_files(folder: Path) -> list[Path]:
    """The files of which one changes when a folder's study does, wherever it lives."""
    url = where(folder) or ""
    elsewhere = journal_path(url) or sqlite_path(url)
    names = (STUDY_FILE, f"{STUDY_FILE}-wal", METRICS_FILE, LOG)
    return [*(folder / name for name in names), *([] if elsewhere is None else [elsewhere])]


def _loaded(folder: Path) -> "optuna.Study | None":
    """The study, or None where none is yet; one that cannot be read is a StudyError."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    url = study_url(folder)
    if url is None:
        return None
    if url.startswith("grpc://"):
        raise StudyError(folder, f"has its study behind {url}, which is not shown here", do="look at the proxy's own storage")
    journal = journal_path(url)
    file = journal or sqlite_path(url)
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=_storage(url, 0 if file is None else file.stat().st_ino))
    except KeyError:  # the run has made its file, and is about to make the study
        return None
    except FileNotFoundError as error:
        raise StudyError(file or folder, "is not there any more", do=f"put it back, or move {folder} away") from error
    except ValueError as error:
        do = f"mend it: milbench doctor --study {folder} --repair"
        raise StudyError(file or folder, "cannot be read as a study (a line of it is torn)", do=do) from error
    except (ImportError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        why = shown(str(error).splitlines()[0][:200])
        raise StudyError(file or shown(url), f"cannot be read as a study ({why})", do="move it away") from error


@lru_cache(maxsize=256)
def _storage(url: str, inode: int) -> Any:
    """The storage at `url`; a file that it holds open keeps its inode, so one that replaced it is another.

    It makes no tables: a run that is just making them would be disturbed.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    journal = journal_path(url)
    if journal is not None:
        return optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=options, skip_table_creation=True))


def study_number(root: Path, folder: Path) -> int:
    """The study's number in the dashboard's addresses: a pure function of its path below the root, so links stay good."""
    return zlib.crc32(name_of(root, folder).encode()) & 0x7FFFFFFF


def dashboard_url(root: Path, folder: Path, trial: int | None = None) -> str:
    """Address of a study, or of one of its trials, in the embedded optuna-dashboard."""
    study = f"/dashboard/studies/{study_number(root, folder)}"
    return study if trial is None else f"{study}/trials?numbers={trial}"


def clock(when: float) -> str:
    """A moment as people say it: 14:05 today, else 23 Nov 14:05. (Not "5 min ago", which would be wrong soon.)"""
    then = time.localtime(when)
    same_day = time.strftime("%Y%j", then) == time.strftime("%Y%j")
    return time.strftime("%H:%M" if same_day else "%d %b %H:%M", then)
