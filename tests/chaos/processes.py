"""Processes to kill: forked off one that has imported everything and done nothing, so that each costs milliseconds."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

_PRELOAD = ["killed_training", "killed_writers"]
WAIT_S = 120


def _serve() -> None:
    """Start the server that they are forked off; Python 3.11 tells it no path but by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        multiprocessing.set_forkserver_preload(_PRELOAD)
        forkserver.ensure_running()


def process(work: Callable[..., None], *args: Any) -> BaseProcess:
    """A started process that does `work(*args)`."""
    _serve()
    started = multiprocessing.get_context("forkserver").Process(target=work, args=args)
    started.start()
    return started


def exit_code(ended: BaseProcess) -> int:
    """What it ended with, waited for; negative: the signal."""
    ended.join(WAIT_S)
    assert ended.exitcode is not None, "it hangs"
    return ended.exitcode
