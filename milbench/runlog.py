"""What a run leaves behind while it works: log.txt, metrics.jsonl, status.json, run_meta.json in its folder.

A job (`milbench.jobs`) is a command whose folder is named by the environment; its output is the log already.
"""

import dataclasses
import logging
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from milbench.errors import MilbenchError
from milbench.files import append_json, append_line, make_folder, read_json, write_json
from milbench.progress import listeners
from milbench.run_config import JOB_VARIABLE, METRICS_FILE, RUN_FOLDER_VARIABLE
from milbench.stopping import stop_signals
from milbench.version import __version__

SEARCH = "search"
"""Key of run_meta.json: what the study of this folder was asked to do, and where; later runs in the folder leave it."""
_STARTED = time.time()
_STATUS_S = 1.0
"""Progress is written at most this often."""
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

    def status(self, state: str, stage: str, done: int = 0, total: int = 0, **more: Any) -> None:
        """state: running, done, failed or stopped; stage: what it is at; done of total, 0 for unknown."""
        here = {"pid": os.getpid(), "host": socket.gethostname(), "started": _STARTED, "time": time.time()}
        said = {"state": state, "stage": stage, "done": done, "total": total, "job": os.environ.get(JOB_VARIABLE, "")}
        write_json(self.path / "status.json", {**said, **here, **more})

    def metric(self, **values: Any) -> None:
        """One line of metrics.jsonl."""
        append_json(self.path / METRICS_FILE, {"time": round(time.time(), 3), **values})

    def describe(self, **values: Any) -> None:
        """run_meta.json: versions, hardware, and what the caller adds. What a study was asked, SEARCH, outlives later runs."""
        path = self.path / "run_meta.json"
        searched = {SEARCH: there[SEARCH]} if path.is_file() and SEARCH in (there := read_json(path)) else {}
        write_json(path, {"versions": versions(), "hardware": hardware(), "git": git_state(), **searched, **values})

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Everything that milbench logs goes to log.txt as long as the context lasts; the status says how it is and ended.

        Ctrl-C, SIGTERM and SIGUSR1 stop it, after a checkpoint where there is something to save.

        Entered again for a folder that is being logged already, it adds nothing.
        """
        if self.path.resolve() in _logged:
            yield
            return
        make_folder(self.path)
        handler, logger, progressed = _Lines(self.path / "log.txt"), logging.getLogger("milbench"), _Throttled(self)
        level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        listeners.append(progressed)
        _logged.add(self.path.resolve())
        try:
            with stop_signals():
                yield
            self.status("done", "done", progressed.total, progressed.total)
        except BaseException as error:
            self.status(*_ended(error), progressed.done, progressed.total)
            if not isinstance(error, KeyboardInterrupt | SystemExit):
                trace = None if isinstance(error, MilbenchError) else sys.exc_info()
                said = ("%s: %s", (type(error).__name__, error), trace)
                handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, *said))  # main tells the console
            raise
        finally:
            _logged.discard(self.path.resolve())
            listeners.remove(progressed)
            logger.removeHandler(handler)
            logger.setLevel(level)


_logged: set[Path] = set()


class _Throttled:
    """Tells a folder's status of progress, at most once in `_STATUS_S`."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.done, self.total, self.told = folder, 0, 0, 0.0

    def __call__(self, words: str, done: int, total: int) -> None:
        self.done, self.total = done, total
        if time.monotonic() - self.told >= _STATUS_S:
            self.told = time.monotonic()
            self.folder.status("running", words, done, total)


def _ended(error: BaseException) -> tuple[str, str]:
    """State and stage that an exception ends a run with."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", str(error) or "stopped by the user"
    if isinstance(error, SystemExit):
        return ("failed", "the command line was refused, log.txt says why") if error.code else ("done", "done")
    return "failed", str(error) or type(error).__name__


def as_job() -> AbstractContextManager[None]:
    """The context of a command that was submitted as a job: its folder hears of everything. Nothing for any other command."""
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    if folder is None:
        return nullcontext()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    return _job(RunFolder(Path(folder)))


@contextmanager
def _job(folder: RunFolder) -> Iterator[None]:
    with folder.logging():
        folder.status("running", "starting")
        yield


def describe_job(config: Any) -> None:
    """Leave what a job was asked to do, with what and where, in its folder; a run tells more later."""
    if is_job():
        RunFolder(Path(os.environ[RUN_FOLDER_VARIABLE])).describe(arguments=dataclasses.asdict(config))


def is_job() -> bool:
    """Whether this process is a job, whose standard error is its log."""
    return RUN_FOLDER_VARIABLE in os.environ


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
    """Machine, cores, and with torch loaded its threads and GPUs."""
    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


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
    """Lines for people on standard error; a job's log has them already."""
    logger = logging.getLogger("milbench")
    if not is_job():
        logger.handlers = [_Console()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
