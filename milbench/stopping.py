"""A stop that was asked for, by Ctrl-C, SIGTERM or SIGUSR1: what can be saved is saved, then `Interrupted` is raised."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop by `signal`; the same command run again goes on where it stopped."""

    def __init__(self, signum: int) -> None:
        self.signal = signal.Signals(signum)
        super().__init__(f"stopped by {'the user' if self.signal == signal.SIGINT else self.signal.name}")


@dataclass
class StopRequest:
    """What was asked for while its context lasts: `asked` is the signal that came, None as long as none did.

    With `defer` the work looks at `asked` where it can be saved, and leaves there. Of further signals Ctrl-C alone is heard, at
    once.
    """

    defer: bool
    asked: int | None = None
    _pid: int = field(default_factory=os.getpid)

    def leave(self) -> NoReturn:
        """Raise Interrupted; a process that stops because another one was asked to has not been asked itself."""
        raise Interrupted(self.asked or signal.SIGTERM)

    def listen(self) -> dict[int, Any]:
        """Answer `SIGNALS` in the main thread, but those that this process ignores; gives the handlers that did so before."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        heard = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
        return {signum: signal.signal(signum, self.handle) for signum in heard}

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler. A process forked off leaves Ctrl-C and SIGUSR1 to its parent and ends on SIGTERM, as ever."""
        if os.getpid() != self._pid:
            if signum == signal.SIGTERM:
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            return
        first = self.asked is None
        self.asked = signum if self.asked is None else self.asked
        if not self.defer if first else signum == signal.SIGINT:
            self.leave()


@contextmanager
def stop_signals(defer: bool = False) -> Iterator[StopRequest]:
    """Answer `SIGNALS` with Interrupted as long as the context lasts: at once, or with `defer` where the work can be left.

    A request that the work did not come to is raised at the end. Outside the main thread signals are left alone.
    """
    request = StopRequest(defer)
    before = request.listen()
    try:
        yield request
    finally:
        for signum, handler in before.items():
            if handler is not None:  # None: installed by C code, which Python cannot give back
                signal.signal(signum, handler)
    if request.asked is not None:
        request.leave()
