"""Storage URLs and their passwords, which no log, file or process list may show."""

import os
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

PASSWORD_VARIABLE = "MILBENCH_STORAGE_PASSWORD"
"""The password of a storage URL that names a user and none."""
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
