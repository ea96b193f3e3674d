"""Several processes on one study: started, listened to, started again when they are killed, ended with us.

A worker is `milbench hpo ...` with `MILBENCH_WORKER` in its environment, a GPU of its own and its share of the cores. It runs
trials and nothing else. Its standard input is a pipe that we hold: when we are gone, however we went, it ends, and it stops.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from milbench.errors import StudyError
from milbench.run_config import JOB_VARIABLE, RUN_FOLDER_VARIABLE, WORKER_VARIABLE
from milbench.storage_url import without_passwords

log = logging.getLogger(__name__)

STOP_S = 60.0
"""A worker that is asked to stop has so long to save what it is at."""
MOST_KILLS = 10
"""So many workers killed, one after another, without a trial that finishes: something here kills them all."""
_POLL_S = 1.0
_LAST_LINES = 20


class _Worker:
    """One process, and the lines that it said last."""

    def __init__(self, number: int, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.number, self.said = number, deque[str](maxlen=_LAST_LINES)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "milbench.cli", *command],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            if line.strip():
                self.said.append(line.rstrip("\n"))
                log.info("worker %d: %s", self.number, self.said[-1])

    def ended(self) -> int | None:
        """Its exit status once it has ended and all it said was heard, negative for a signal."""
        if self.process.poll() is not None:
            self.close()
        return self.process.poll()

    def close(self) -> None:
        """Hear what it said last and close its pipes; it has ended."""
        self.let_go()
        self.listener.join(STOP_S)
        if self.process.stdout is not None and not self.listener.is_alive():
            self.process.stdout.close()

    def let_go(self) -> None:
        """Close its standard input: it stops."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()


def work_together(command: Sequence[str], count: int, gpus: Sequence[str], tick: Callable[[], int]) -> None:
    """Run `count` workers of `milbench COMMAND` until all have ended well.

    `tick` is called every second and gives the number of finished trials. A worker that is killed is started again; one that
    fails ends all, with its reason as a StudyError.
    """
    shown, secrets = without_passwords(command)
    places = [{**os.environ, **secrets, **place} for place in environments(count, gpus)]
    for place in places:
        place.pop(RUN_FOLDER_VARIABLE, None)
        place.pop(JOB_VARIABLE, None)
    workers = {n: _Worker(n, shown, place) for n, place in enumerate(places, 1)}
    kills, finished = 0, tick()
    try:
        while workers:
            time.sleep(_POLL_S)
            before, finished = finished, tick()
            kills = 0 if finished > before else kills
            for number, status in [(n, worker.ended()) for n, worker in workers.items()]:
                if status is None:
                    continue
                worker = workers.pop(number)
                if status < 0:
                    kills += 1
                    log.warning("worker %d was ended by %s; started again", number, signal.Signals(-status).name)
                    workers[number] = _Worker(number, shown, places[number - 1])
                elif status:
                    raise StudyError(f"worker {number}", _reason(worker))
            if kills >= MOST_KILLS:
                do = "look for a lack of memory, or use fewer --workers"
                raise StudyError("workers", f"{kills} were killed in a row without a finished trial", do=do)
    finally:
        _end(list(workers.values()))


def _reason(worker: _Worker) -> str:
    said = worker.said[-1] if worker.said else "ended without a word"
    return said.removeprefix("milbench: ")


def _end(workers: Sequence[_Worker]) -> None:
    """All stop, and are ended after `STOP_S`."""
    for worker in workers:
        worker.let_go()
    until = time.monotonic() + STOP_S
    for worker in workers:
        try:
            worker.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.close()


def environments(count: int, gpus: Sequence[str]) -> Iterator[dict[str, str]]:
    """What each of `count` workers has for itself: a number, a GPU if there are any, a share of the cores."""
    from joblib import cpu_count  # takes a while, and the command line imports this module

    threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or cpu_count()) // count)
    if gpus and count > len(gpus):
        log.info("%d workers share %d GPU(s)", count, len(gpus))
    for n in range(count):
        gpu = {"CUDA_VISIBLE_DEVICES": gpus[n % len(gpus)]} if gpus else {}
        yield {WORKER_VARIABLE: str(n + 1), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **gpu}


def visible_gpus(devices: int) -> list[str]:
    """Names of the `devices` that CUDA shows, as CUDA_VISIBLE_DEVICES takes them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:devices] if named else [str(n) for n in range(devices)]


def is_worker() -> bool:
    """Whether this process is one of several on a study."""
    return WORKER_VARIABLE in os.environ


@contextmanager
def with_parent() -> Iterator[None]:
    """Stop when the process that started us is gone: our standard input, its pipe, ends."""

    def listen() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
