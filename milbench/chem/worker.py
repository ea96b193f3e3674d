"""A process that computes molecules and can be ended: one that hangs or crashes costs that molecule and no other."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import IO

from milbench.chem.compute import Recipe, Result, describe
from milbench.errors import DataError, MilbenchError
from milbench.prepare_config import PrepareConfig

PATIENCE = 10
"""A molecule may take this many times its CPU limit by the clock, so that a busy machine ends none that would have finished."""
MOST_CRASHES = 20
"""After so many crashes in a row it is not the molecules' fault."""
_AGAIN = "run the same command again; it goes on from the finished shards"
_TOO_LONG = (signal.SIGPROF, signal.SIGALRM)
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


@dataclass
class Worker:
    """Computes structures in a process of its own, which is started anew when a molecule has ended it."""

    config: PrepareConfig
    _process: subprocess.Popen[bytes] | None = None
    _connection: Connection | None = None
    _log: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    _stopped: bool = False
    _crashes: int = 0

    def results(self, structures: Sequence[str]) -> Iterator[Result]:
        """The result of each structure, in order; DataError when the process was ended from outside."""
        done = 0
        while done < len(structures):
            connection = self._connected()
            connection.send(structures[done:])
            stage = ""
            try:
                while done < len(structures):
                    answer = connection.recv()
                    if isinstance(answer, str):
                        stage = answer
                        continue
                    self._crashes = 0
                    yield answer
                    done += 1
            except (EOFError, ConnectionError):
                yield self._post_mortem(stage)
                done += 1

    def stop(self) -> None:
        """End the process, from any thread; whoever waits for a result gets a DataError."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the process and let go of everything; nobody may be waiting for a result."""
        self.stop()
        self._log.close()
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> Connection:
        if self._stopped:
            raise DataError(self.config.source, "the work was stopped", do=_AGAIN)
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._log.seek(0)
                self._log.truncate()
                path = os.pathsep.join(entry for entry in sys.path if entry)
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "milbench.chem.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stderr=self._log,
                    env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
                )
            self._connection = Connection(ours.detach())
            self._connection.send(self.config)
            self._await_ready(self._connection)
        return self._connection

    def _await_ready(self, connection: Connection) -> None:
        try:
            connection.recv()
        except (EOFError, ConnectionError) as error:
            raise MilbenchError("prepare", f"its worker process did not start ({self._last_words()})") from error

    def _post_mortem(self, stage: str) -> Result:
        """What ended the process, as the result of the molecule that it was at; the next one gets a new process."""
        assert self._process is not None and self._connection is not None
        self._connection.close()
        self._connection = None
        status = self._process.wait()
        if -status in _TOO_LONG:
            return Result("time_limit", f"more than {self.config.time_limit:g} s, at: {stage}")
        if -status in _CRASHES:
            return self._crashed(f"{signal.Signals(-status).name}, at: {stage}")
        if status > 0:
            return self._crashed(f"{self._last_words()}, at: {stage}")
        name = signal.Signals(-status).name if status else "it left"
        raise DataError(self.config.source, f"a worker process was ended from outside ({name}; too little memory?)", do=_AGAIN)

    def _crashed(self, detail: str) -> Result:
        self._crashes += 1
        if self._crashes == MOST_CRASHES:
            raise DataError(self.config.source, f"{MOST_CRASHES} molecules in a row crashed, the last with {detail}")
        return Result("crashed", detail)

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"


def serve(connection: Connection) -> None:
    """Compute what comes through `connection` until it closes.

    The kernel ends this process when a molecule takes too long, whatever C++ code it is in and whether or not anyone waits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    config: PrepareConfig = connection.recv()
    recipe = Recipe.of(config)
    connection.send("ready")
    while True:
        for structure in connection.recv():
            _limit(config.time_limit)
            result = describe(structure, recipe, connection.send)
            _limit(0)
            connection.send(result)


def _limit(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * PATIENCE)


if __name__ == "__main__":
    try:
        serve(Connection(int(sys.argv[1])))
    except (EOFError, ConnectionError):  # the parent has closed, or was killed
        sys.exit(0)
