"""Where a trial's folds are kept until it ends: asked for again after an interruption, its parameters go on where they were."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from milbench.files import hold_lock, lend_lock, make_folder, read_json, remove, sweep_orphans, write_json

log = logging.getLogger(__name__)

TRIALS_WORK = "trials_work"
_TRIAL = "trial.json"


@contextmanager
def trial_work(root: Path, key: str, trial: int) -> Iterator[Path | None]:
    """The folder of the parameters `key` below `root`, now of this trial; this process's alone as long as the context lasts.

    None where another process works on the same parameters: this one then keeps nothing.
    """
    make_folder(root)
    with ExitStack() as held:
        try:
            held.enter_context(lend_lock(root / f"{key}.lock"))
        except BlockingIOError:
            log.info("trial %d: another worker trains the same parameters; this one keeps no checkpoints", trial)
            yield None
            return
        folder = make_folder(root / key)
        sweep_orphans(folder)
        write_json(folder / _TRIAL, {"trial": trial})
        yield folder


def forget_work(root: Path, is_over: Callable[[int], bool] | None = None) -> None:
    """Remove the folders below `root` that no process works in and whose trial is over; all of them, and `root`, without."""
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        with suppress(BlockingIOError), hold_lock(root / f"{folder.name}.lock"):
            trial = read_json(folder / _TRIAL)["trial"] if (folder / _TRIAL).is_file() else -1
            if is_over is None or is_over(trial):
                remove(folder)
    if is_over is None:
        with suppress(OSError):  # never made, or another worker's folder is in it
            root.rmdir()
