"""Which process works on a trial: a locked file that the kernel lets go of when its process ends, however it ends."""

import contextlib
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.trial import TrialState

from milbench.files import hold_lock, is_locked, make_folder

ATTRIBUTE = "worker"


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[str]:
    """Hold a lease in `folder` for as long as the context lasts; gives the worker's name."""
    make_folder(folder)
    name = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
    with hold_lock(folder / f"{name}.lock"):
        yield name


def reap(study: optuna.Study, folder: Path, own: str) -> int:
    """Fail the RUNNING trials whose worker on this machine is gone, and sweep its lock; gives how many trials.

    A trial that no worker has put its name on yet was left so by a dead one, unless another worker than `own` is alive.
    Trials of other machines are left to the storage's heartbeat.
    """
    here = socket.gethostname()
    locks = {path.stem: is_locked(path) for path in folder.glob("*.lock") if path.stem != own}
    gone = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(ATTRIBUTE)
        stale = not any(locks.values()) if worker is None else worker.startswith(here) and not locks.get(worker, False)
        if stale:
            study.tell(trial.number, state=TrialState.FAIL)
            gone += 1
    for name, held in locks.items():
        if not held and name.startswith(here):
            (folder / f"{name}.lock").unlink(missing_ok=True)
    return gone
