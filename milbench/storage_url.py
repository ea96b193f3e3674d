"""Storage URLs: where a study lives, and passwords, which no log, file or process list may show."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from milbench.files import read_json

PASSWORD_VARIABLE = "MILBENCH_STORAGE_PASSWORD"
"""The password of a storage URL that names a user and none."""
STUDY_FILE, STUDY_NAME = "study.db", "milbench"
"""The study of a folder, and what every study is called in its storage."""
WHERE_FILE = "study.json"
"""Says where a study lives that is not in its folder."""
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):(\S*)@")


def shown(url: str) -> str:
    """A storage URL without its password, for messages and records."""
    return _PASSWORD.sub(r"\1:***@", url)


def bare(url: str) -> str:
    """A storage URL that has lost its password, to be opened with the one of the environment."""
    return _PASSWORD.sub(r"\1@", url)


def without_passwords(args: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command line whose URLs have lost their passwords, and the environment that gives them back."""
    found = [match[2] for arg in args if (match := _PASSWORD.search(arg))]
    return [bare(arg) for arg in args], {PASSWORD_VARIABLE: unquote(found[-1])} if found else {}


def with_password(url: str) -> str:
    """A storage URL with the password of the environment, where it names a user and no password."""
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        return url
    return re.sub(r"^([\w+]+://[^:/@?]+)@", lambda match: f"{match[1]}:{quote(password, safe='')}@", url)


def opened_as(url: str) -> str:
    """A storage URL as SQLAlchemy is given it: PostgreSQL by psycopg 3, with the password of the environment."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", with_password(url))


def where(folder: Path) -> str | None:
    """The URL of the study of a folder; None for study.db in it."""
    path = folder / WHERE_FILE
    return read_json(path)["storage"] if path.is_file() else None


def journal_path(url: str | Path) -> Path | None:
    """The file of a journal's URL: journal:PATH, or a path that ends in .log; None for other URLs."""
    text = str(url)
    if text.startswith("journal:"):
        return Path(text.removeprefix("journal:").removeprefix("//"))
    return Path(text) if text.endswith(".log") and "://" not in text else None


def sqlite_path(url: str | Path) -> Path | None:
    """The file of an SQLite URL; None for other URLs."""
    found = re.match(r"sqlite(\+\w+)?:///([^?]+)", str(url))
    return Path(found[2]) if found else None
