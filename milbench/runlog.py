"""What a run leaves behind while it works: log.txt, metrics.jsonl, status.json, run_meta.json in its folder."""

import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from milbench.errors import MilbenchError
from milbench.files import append_json, append_line, make_folder, write_json
from milbench.version import __version__

_LIBRARIES = ("torch", "lightning", "optuna", "numpy", "pandas", "scikit-learn", "rdkit")


class _Lines(logging.Handler):
    """Appends each record to a file as one line, opened and closed each time, so that nothing is lost in a buffer."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        self.path = path
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        append_line(self.path, self.format(record))


@dataclass(frozen=True)
class RunFolder:
    """A run's folder. The apps read these files and the study, and nothing else."""

    path: Path

    def status(self, state: str, stage: str, **more: Any) -> None:
        """state: running, done, failed or stopped; stage: what it is at."""
        write_json(self.path / "status.json", {"state": state, "stage": stage, "pid": os.getpid(), "time": time.time(), **more})

    def metric(self, **values: Any) -> None:
        """One line of metrics.jsonl."""
        append_json(self.path / "metrics.jsonl", {"time": round(time.time(), 3), **values})

    def describe(self, **values: Any) -> None:
        """run_meta.json: versions, hardware, and what the caller adds."""
        write_json(self.path / "run_meta.json", {"versions": versions(), "hardware": hardware(), "git": git_state(), **values})

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Everything that milbench logs goes to log.txt as long as the context lasts; the status says how it ended."""
        make_folder(self.path)
        handler, logger = _Lines(self.path / "log.txt"), logging.getLogger("milbench")
        level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            yield
            self.status("done", "done")
        except KeyboardInterrupt:
            self.status("stopped", "stopped by the user")
            raise
        except BaseException as error:
            self.status("failed", str(error))
            trace = None if isinstance(error, MilbenchError) else sys.exc_info()
            said = ("%s: %s", (type(error).__name__, error), trace)
            handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, *said))  # the console hears it from main
            raise
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def versions() -> dict[str, str]:
    """Versions of milbench, Python and the libraries that are installed."""
    found = {"milbench": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Machine, cores and GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def git_state() -> str:
    """Commit of the working folder, or '' outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


class _Console(logging.Handler):
    """Writes to what standard error is at that moment: a progress bar borrows it, so that lines and bar do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def log_to_console() -> None:
    """Lines for people on standard error."""
    logger = logging.getLogger("milbench")
    logger.handlers = [_Console()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
