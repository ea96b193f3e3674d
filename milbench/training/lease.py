"""Which process works on a trial: a locked file that the kernel lets go of when its process ends, however it ends.

Locks are seen by processes that share the study's folder on this machine. Workers elsewhere show that they live by a beat in
the study's storage, whatever kind of storage it is.
"""

import contextlib
import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage

from milbench.files import hold_new_lock, is_locked, make_folder, sweep_orphans
from milbench.training.storage import STORAGE_ERRORS

log = logging.getLogger(__name__)

BEAT = "beat"
"""The attribute of a running trial that changes as long as its worker lives."""
BEAT_S = 60.0
GRACE_S = 180.0
"""A worker elsewhere that has not moved for so long is gone."""


@dataclass(frozen=True)
class Lease:
    """A worker's name, and the folder of the locks of all workers that share it."""

    folder: Path
    name: str

    def here(self, worker: str) -> bool:
        """Whether that worker has its lock in this folder, on this machine."""
        return worker.startswith(_prefix(self.folder))

    def lives(self, worker: str) -> bool:
        """Whether a worker that is here still runs."""
        return is_locked(self.folder / f"{worker}.lock")

    def sweep(self) -> None:
        """Remove the locks that dead workers have left here."""
        for path in self.folder.glob("*.lock"):
            if self.here(path.stem) and not is_locked(path):
                path.unlink(missing_ok=True)
        sweep_orphans(self.folder)


def _prefix(folder: Path) -> str:
    """The folder is named by its number, which it keeps when it is moved and does not share with a copy."""
    return f"{socket.gethostname()}-{folder.stat().st_ino:x}-"


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[Lease]:
    """Hold a lease in `folder` for as long as the context lasts."""
    make_folder(folder)
    own = Lease(folder, f"{_prefix(folder)}{uuid.uuid4().hex[:12]}")
    with hold_new_lock(folder / f"{own.name}.lock"):
        yield own


@contextlib.contextmanager
def beating(storage: BaseStorage, trial_id: int) -> Iterator[None]:
    """Show that the trial's worker lives, as long as the context lasts."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            try:
                storage.set_trial_system_attr(trial_id, BEAT, round(time.time()))
            except UpdateFinishedTrialError:
                return  # another worker has given it up; its own hears so when it reports
            except STORAGE_ERRORS as error:
                log.warning("a sign of life could not be written: %s", str(error).splitlines()[0])

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
