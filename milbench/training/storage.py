"""Where a study lives: opened by one option. Loads Optuna, no torch."""

import contextlib
import json
import logging
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from milbench.errors import ConfigError, StudyError
from milbench.files import write_json
from milbench.storage_url import (
    STUDY_FILE,
    STUDY_NAME,
    WHERE_FILE,
    bare,
    journal_path,
    opened_as,
    shown,
    sqlite_path,
    where,
)

log = logging.getLogger(__name__)

URLS = "sqlite:///PATH, journal:PATH, postgresql://USER@HOST/NAME or grpc://HOST:PORT"
STORAGE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""What a storage raises when it is full, locked for too long, or gone."""
_OPEN_TRIES = 5
_GRPC_WAIT_S = 10.0


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """What Optuna calls experimental, used without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@contextlib.contextmanager
def told_of_storage(where: str) -> Iterator[None]:
    """A storage that gives up is a StudyError that names `where` it is."""
    try:
        yield
    except STORAGE_ERRORS as error:
        why = f"the study's storage gave up ({str(error).splitlines()[0][:200]})"
        raise StudyError(shown(where), why, do="mend it, then run the same command again") from error


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """The storage at `url` (`URLS`), or study.db in `folder`; one that cannot be opened is a ConfigError or StudyError."""
    file = folder / STUDY_FILE
    if url is None and "?" in str(file):
        raise ConfigError(folder, "has a ? in its name, which no database URL can hold", do="choose another --study_dir")
    name = url or f"sqlite:///{file}"
    if name in {"sqlite://", "sqlite:///:memory:"}:
        raise ConfigError("--storage", "would forget the study", got=url, do="name a file, sqlite:///path/study.db")
    if re.search(r"[?&]password=", name):
        why = "has its password where logs would show it"
        raise ConfigError("--storage", why, do="write USER:PASSWORD@HOST, or set PGPASSWORD")
    try:
        journal = journal_path(name)
        if journal is not None:
            return _journal(journal)
        return _proxy(name) if name.startswith("grpc://") else _database(name)
    except (ImportError, ValueError, OSError, *STORAGE_ERRORS) as error:
        why = f"cannot be opened ({str(error).splitlines()[0][:200]})"
        if url is None:
            raise StudyError(file, why, do="move it away, or use another --study_dir") from error
        raise ConfigError("--storage", shown(why), got=shown(name), want=URLS) from error


def _journal(path: Path) -> BaseStorage:
    if not path.parent.is_dir():
        raise OSError(f"no folder {path.parent}")
    if torn_lines(path):
        raise StudyError(path, "has a line that is torn", do=f"mend it: milbench doctor --study {path} --repair")
    return JournalStorage(JournalFileBackend(str(path)))


def torn_lines(path: Path) -> list[int]:
    """Numbers (from 1) of the lines of a journal that cannot be read; a line that is being written is waited for."""
    for wait_s in (0.0, 0.2, 1.0):
        time.sleep(wait_s)
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        torn = [number for number, line in enumerate(lines, 1) if not whole_record(line)]
        if torn != [len(lines)]:
            break
    return torn


def whole_record(line: bytes) -> bool:
    """Whether a journal's line is one whole record."""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _proxy(url: str) -> BaseStorage:
    found = re.fullmatch(r"grpc://([^:/]+):(\d+)/?", url)
    if not found:
        raise ValueError("not grpc://HOST:PORT")
    with experimental():
        proxy = GrpcStorageProxy(host=found[1], port=int(found[2]))
    proxy.wait_server_ready(_GRPC_WAIT_S)
    return proxy


def _database(url: str) -> BaseStorage:
    """SQLite waits for a lock for a minute, a server has ten seconds to answer. Tables that others make meanwhile are fine."""
    if not url.split("://")[0].startswith(("sqlite", "postgresql", "postgres", "mysql")):
        raise ValueError("unknown kind of storage")
    url = opened_as(url)
    lite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": 60} if lite else {"connect_timeout": 10}, "pool_pre_ping": not lite}
    for tries_left in reversed(range(_OPEN_TRIES)):
        try:
            return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=options))  # type: ignore[arg-type]
        except STORAGE_ERRORS as error:
            if not tries_left or not re.search(r"already exists|duplicate key|UNIQUE constraint", f"{error} {error.__cause__}"):
                raise
            time.sleep(0.2)
    raise AssertionError


def remember(folder: Path, url: str | None) -> None:
    """Leave in a study's folder where the study lives, if not there."""
    if url is not None and url != where(folder):
        write_json(folder / WHERE_FILE, {"storage": url})


def settled(url: str) -> str:
    """A storage URL as it is remembered: without its password, a file's path from the root."""
    journal, lite = journal_path(url), sqlite_path(url)
    if journal is not None:
        return f"journal:{journal.absolute()}"
    return f"sqlite:///{lite.absolute()}" if lite is not None else bare(url)


def load_study(folder: Path, url: str | None = None) -> optuna.Study:
    """The study of a folder, or at `url`, as it is; a StudyError where there is none."""
    url = url or where(folder)
    here = folder / STUDY_FILE
    if url is None and not here.is_file():
        raise StudyError(folder, f"holds no study (no {STUDY_FILE})", do="start one with: milbench hpo")
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=open_storage(folder, url))
    except KeyError as error:
        raise StudyError(shown(url or str(here)), f"holds no study {STUDY_NAME}", do="start one with: milbench hpo") from error
