"""Jobs: a milbench command line and a folder. A job outlives the terminal or browser tab that started it.

Every long command goes on where it stopped when it is run again, so a job needs no other state than its folder: job.json says
what runs there, log.txt and status.json what it says of itself, the kernel or the cluster whether it lives. Loads no torch.
"""

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from milbench.errors import ConfigError, DataError, MilbenchError
from milbench.files import appending, is_locked, lend_lock, make_folder, read_json, write_json
from milbench.run_config import JOB_VARIABLE, RUN_FOLDER_VARIABLE
from milbench.slurm import LOG, Phase, Slurm
from milbench.storage_url import without_passwords

log = logging.getLogger(__name__)

JOB, STATUS, LOCK = "job.json", "status.json", "job.lock"
STUDIES = ("run", "hpo")
"""Commands whose job folder is their study folder."""
_POLL_S = 0.2


@dataclass(frozen=True)
class Job:
    """What was submitted: arguments of `milbench`, where, and what it is called there (`ids`: process or SLURM job numbers)."""

    folder: Path
    command: tuple[str, ...]
    cluster: str = "local"
    cwd: Path = field(default_factory=Path.cwd)
    options: Mapping[str, Any] = field(default_factory=dict)
    submitted: float = 0.0
    id: str = ""
    ids: tuple[str, ...] = ()

    def save(self) -> None:
        """Write job.json."""
        write_json(self.folder / JOB, {**dataclasses.asdict(self), "folder": str(self.folder), "cwd": str(self.cwd)})

    def environment(self) -> dict[str, str]:
        """What tells the command which job it is."""
        return {RUN_FOLDER_VARIABLE: str(self.folder), JOB_VARIABLE: self.id}

    def argv(self) -> list[str]:
        """The whole command line, by the Python that runs this."""
        return [sys.executable, "-P", "-m", "milbench.cli", *self.command]


@dataclass(frozen=True)
class JobState:
    """How a job is. state: queued, running, done, failed, stopped, or lost (gone without saying how). total 0: unknown."""

    name: str
    kind: str
    state: str
    stage: str
    done: int
    total: int
    started: float | None
    updated: float | None
    folder: Path
    command: tuple[str, ...]
    cluster: str


class Cluster(Protocol):
    """Where jobs run."""

    def start(self, job: Job, environment: Mapping[str, str], lock: int) -> tuple[str, ...]:
        """Start it, `environment` on top of its own; gives what it is called here. Its output goes to log.txt.

        `lock` is a descriptor of the folder's lock, for a process that can inherit it.
        """
        ...

    def phase(self, job: Job) -> Phase:
        """queued, running, or gone, in what the cluster calls it."""
        ...

    def stop(self, job: Job, grace_s: float) -> None:
        """Ask it to stop, and end it after `grace_s` seconds; back when it is gone."""
        ...


class Local:
    """Processes of this machine, each in a session of its own, holding the lock of its folder as long as it lives.

    (submitit's local jobs share the terminal's session and its end, hide GPUs, need a time limit, and only the process that
    started them can ask how they are.)
    """

    def start(self, job: Job, environment: Mapping[str, str], lock: int) -> tuple[str, ...]:
        """Start it; gives its process number, which is that of its process group too."""
        with appending(job.folder / LOG) as output:
            process = subprocess.Popen(
                job.argv(),
                cwd=job.cwd,
                env={**os.environ, **environment, **job.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
            )
        threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie while we live
        return (str(process.pid),)

    def phase(self, job: Job) -> Phase:
        """running while its process holds the lock."""
        return Phase("running" if is_locked(job.folder / LOCK) else "gone")

    def stop(self, job: Job, grace_s: float) -> None:
        """Ctrl-C for its processes, a kill for those that are still there after `grace_s`."""
        group = int(job.ids[0]) if job.ids else _status(job).get("pid", 0)
        for sent, wait_s in ((signal.SIGINT, grace_s), (signal.SIGKILL, 10.0)):
            if group and self.phase(job).name != "gone":
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, sent)
                _wait(lambda: self.phase(job).name == "gone", wait_s)


CLUSTERS: dict[str, Callable[[], Cluster]] = {"local": Local, "slurm": Slurm}
"""Where a job may run, by name."""


def submit(command: Sequence[str], folder: str | Path, cluster: str = "local", options: Mapping[str, Any] | None = None) -> Job:
    """Start `milbench COMMAND` detached, with `folder` as its run folder (of run and hpo: the study folder).

    `options` are the cluster's (partition, account, ...). A password in a storage URL is handed over and kept nowhere.
    """
    if cluster not in CLUSTERS:
        raise ConfigError("--cluster", got=cluster, want=" or ".join(CLUSTERS))
    folder = make_folder(Path(folder).absolute())
    said, secrets = without_passwords(_with_study_dir(list(command), folder))
    return _start(Job(folder, tuple(said), cluster, Path.cwd(), dict(options or {})), secrets)


def resume(folder: str | Path) -> Job:
    """Submit a folder's command again, from where it was submitted, with its options."""
    return _start(read_job(folder), {})


def _start(job: Job, secrets: Mapping[str, str]) -> Job:
    busy = ConfigError(job.folder, "a job is running here", do="stop it first, or choose another folder")
    before = read_job(job.folder) if (job.folder / JOB).is_file() else None
    if before is not None and _phase(before).name != "gone":
        raise busy
    try:
        with lend_lock(job.folder / LOCK) as lock:
            job = dataclasses.replace(job, submitted=time.time(), id=uuid.uuid4().hex[:12], ids=())
            job.save()  # before it starts, so that it is known whatever happens to us
            try:
                job = dataclasses.replace(job, ids=CLUSTERS[job.cluster]().start(job, secrets, lock))
            except MilbenchError:  # it never was one
                before.save() if before is not None else (job.folder / JOB).unlink()
                raise
            job.save()
    except BlockingIOError as error:
        raise busy from error
    return job


def _with_study_dir(command: list[str], folder: Path) -> list[str]:
    """The command, told its study folder if it needs one; ConfigError if it names another."""
    if not command:
        raise ConfigError("jobs start", "no command", want="a command of milbench, such as: run --store ... --run_hpo")
    if command[0] not in STUDIES:
        return command
    flags = [arg.replace("-", "_") for arg in command]
    named = [i for i, arg in enumerate(flags) if arg.partition("=")[0] == "__study_dir"]
    if not named:
        return [*command, "--study_dir", str(folder)]
    last = named[-1]
    given = command[last].partition("=")[2] or "".join(command[last + 1 : last + 2])
    if Path(given).absolute() != folder:
        raise ConfigError("--study_dir", got=given, want=f"{folder}, the job's folder, or leave it out")
    return command


def read_job(folder: str | Path) -> Job:
    """The job of a folder; a DataError where there is none."""
    folder = Path(folder).absolute()
    if not (folder / JOB).is_file():
        raise DataError(folder, "no job was started here", do="see `milbench jobs`")
    said = read_json(folder / JOB)
    names = {field.name for field in dataclasses.fields(Job)}
    if not isinstance(said, dict) or not names <= said.keys() or said["cluster"] not in CLUSTERS:
        raise DataError(folder / JOB, "describes no job of milbench")
    given = {name: said[name] for name in names}
    return Job(
        **given | {"folder": folder, "cwd": Path(said["cwd"]), "command": tuple(said["command"]), "ids": tuple(said["ids"])}
    )


def _phase(job: Job) -> Phase:
    return CLUSTERS[job.cluster]().phase(job)


def _status(job: Job) -> dict[str, Any]:
    """What this submission of the job says of itself; {} as long as it has not said anything."""
    path = job.folder / STATUS
    said = read_json(path) if path.is_file() else {}
    return said if said.get("job") == job.id else {}


def state_of(folder: str | Path) -> JobState:
    """How the job of a folder is."""
    job = read_job(folder)
    phase = _phase(job)
    said = _status(job)  # read after the phase: a job that is gone has said all
    state, stage = said.get("state", "queued"), said.get("stage", "starting")
    if phase.name == "gone" and state in {"queued", "running"}:
        words = f" ({phase.words})" if phase.words else ""
        state, stage = "lost", f"ended without a word while at: {stage}{words}"
    elif phase.name == "queued":
        state, stage = "queued", phase.words
    elif phase.name == "running":
        state = "running" if said else "queued"
    counts = said.get("done", 0), said.get("total", 0)
    times = said.get("started"), said.get("time", job.submitted)
    return JobState(job.folder.name, job.command[0], state, stage, *counts, *times, job.folder, job.command, job.cluster)


def jobs_in(root: str | Path) -> list[JobState]:
    """Every job in a folder below `root`, newest first."""
    found = []
    for path in Path(root).rglob(JOB):
        try:
            found.append((read_job(path.parent).submitted, state_of(path.parent)))
        except MilbenchError as error:
            log.warning("jobs: %s", error)
    return [state for _, state in sorted(found, key=lambda pair: pair[0], reverse=True)]


def stop(folder: str | Path, grace_s: float = 30.0) -> JobState:
    """Ask a job to stop, and end it after `grace_s` seconds; what it finished stays."""
    job = read_job(folder)
    CLUSTERS[job.cluster]().stop(job, grace_s)
    state = state_of(folder)
    if state.state == "lost":
        write_json(
            job.folder / STATUS, {**_status(job), "job": job.id, "state": "stopped", "stage": f"ended after {grace_s:g} s"}
        )
    return state_of(folder)


def log_tail(folder: str | Path, lines: int = 200) -> list[str]:
    """The last lines of a job's log."""
    return _read(Path(folder) / LOG, 0)[0][-lines:]


def follow(folder: str | Path, lines: int = 200) -> Iterator[str]:
    """The log's last lines and those that come, until the job ends."""
    job = read_job(folder)
    said, place = _read(job.folder / LOG, 0)
    yield from said[-lines:]
    while True:
        gone = _phase(job).name == "gone"  # asked before the log is read: what it said last is not missed
        said, place = _read(job.folder / LOG, place)
        yield from said
        if gone:
            return
        time.sleep(_POLL_S)


def _read(path: Path, place: int) -> tuple[list[str], int]:
    """Whole lines of a log from byte `place` on, and where they end."""
    if not path.is_file():
        return [], place
    with path.open("rb") as file:
        file.seek(place)
        whole, _, rest = file.read().rpartition(b"\n")
        return whole.decode(errors="replace").splitlines(), file.tell() - len(rest)


def _wait(over: Callable[[], bool], wait_s: float) -> None:
    """Until it is over, or `wait_s` seconds have passed."""
    until = time.monotonic() + wait_s
    while not over() and time.monotonic() < until:
        time.sleep(0.05)
