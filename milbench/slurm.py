"""Jobs of SLURM by its own commands: submit a script, ask how it is, cancel it. No accounting database is needed.

A job's script is an ordinary one, to be read or submitted by hand. Shortly before its time is over SLURM wakes it (USR1): the
command saves its state and ends, and the script puts itself back into the queue, where the same command goes on.
"""

import argparse
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from milbench.cluster import SlurmOptions
from milbench.errors import ClusterError, ConfigError
from milbench.files import write_text

if TYPE_CHECKING:
    from milbench.jobs import Job

LOG = "log.txt"
_FRESH_S = 2.0
_PATIENCE = 120.0
"""Seconds until a command of SLURM must have answered."""
_WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SUSPENDED"}
)
_WORKING = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "STOPPED", "RESIZING", "SIGNALING"})

_BODY = """
# a warning that the time is nearly over is passed on; an order to stop reaches the command by itself
job= warned=
trap 'warned=yes; [ -z "$job" ] || kill -USR1 "$job"' USR1
trap : TERM
export OMP_NUM_THREADS="${{SLURM_CPUS_ON_NODE:-1}}"
{exports}
{setup}

{command} &
job=$!
[ -z "$warned" ] || kill -USR1 "$job"
while wait "$job"; status=$?; kill -0 "$job" 2>/dev/null; do :; done
if [ -n "$warned" ] && [ "$status" -ne 0 ]; then
    echo "time is up: queued again" >&2
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


@dataclass(frozen=True)
class Script:
    """A job: what it runs (`command`), asks for, is called, where it works and where its output goes.

    `log` may have SLURM's patterns in its name (%A_%a). `tasks`: how many of them, as an array; None for a single job.
    `variables` are set for it.
    """

    command: Sequence[str]
    options: SlurmOptions
    name: str
    log: Path
    cwd: Path
    tasks: int | None = None
    variables: Mapping[str, str] | None = None

    def text(self) -> str:
        """The script's lines."""
        options = self.options
        asked = {
            "job-name": self.name,
            "output": str(self.log.parent).replace("%", "%%") + f"/{self.log.name}",
            "open-mode": "append",
            "chdir": self.cwd,
            "ntasks": 1,
            "signal": f"B:USR1@{options.notice_s}",
            "partition": options.partition,
            "account": options.account,
            "qos": options.qos,
            "time": options.time,
            "gres": f"gpu:{options.gpus}" if options.gpus and options.gpus != "0" else None,
            "cpus-per-task": options.cpus,
            "mem": options.memory,
            "array": None if self.tasks is None else f"0-{self.tasks - 1}%{options.parallel or self.tasks}",
        }
        flags = [f"--{name}={value}" for name, value in asked.items() if value is not None]
        lines = [f"#SBATCH {_quoted(flag)}" for flag in ("--requeue", *flags, *options.sbatch)]
        exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in (self.variables or {}).items())
        setup = "\n".join(f"{{ {line}\n}} || exit" for line in options.setup)
        body = _BODY.format(exports=exports, setup=setup, command=shlex.join(self.command))
        return "\n".join(["#!/bin/bash", *lines]) + "\n" + body


def _quoted(flag: str) -> str:
    """--name=value, the value as the shell (and sbatch) wants it."""
    name, equals, value = flag.partition("=")
    return f"{name}={shlex.quote(value)}" if equals else name


def submit(script: Script, path: Path, environment: Mapping[str, str] | None = None) -> str:
    """Write the script to `path` and submit it, `environment` handed on beside our own; gives SLURM's number of the job."""
    write_text(path, script.text())
    return _asked(["sbatch", "--parsable", str(path)], environment).partition(";")[0]


def cancel(job: str) -> None:
    """Cancel a job with all its tasks; it may have ended already."""
    _asked(["scancel", job])


@dataclass(frozen=True)
class Phase:
    """How a job is: queued, running or gone, and SLURM's own words for it ('' where it knows nothing any more)."""

    name: str
    words: str = ""


_last: dict[str, tuple[float, Phase]] = {}


def phase_of(job: str) -> Phase:
    """A job with all its tasks: running if any is, else queued if any is, else gone. Asked anew every two seconds at most."""
    told, phase = _last.get(job, (-math.inf, Phase("gone")))
    if time.monotonic() - told > _FRESH_S:
        phase = _phase(job)
        _last[job] = time.monotonic(), phase
    return phase


def _phase(job: str) -> Phase:
    fields = "State:24,RestartCnt:12,Reason:64"
    try:
        lines = _asked(["squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", f"--Format={fields}"]).splitlines()
    except ClusterError as error:
        if "Invalid job id" in str(error):  # forgotten, some minutes after its end
            return Phase("gone")
        raise
    tasks = [(line[:24].strip(), line[24:36].strip(), line[36:].strip()) for line in lines]
    for name, states in (("running", _WORKING), ("queued", _WAITING)):
        if any(state in states for state, _, _ in tasks):
            return Phase(name, _counted(tasks))
    return Phase("gone", _counted(tasks))


def _counted(tasks: Sequence[tuple[str, str, str]]) -> str:
    """2 running, 1 requeued (BeginTime)."""
    words = []
    for state, restarts, reason in tasks:
        again = state in _WAITING and restarts not in {"", "0"}
        word = "requeued" if again else state.lower().replace("_", " ")
        words.append(word if reason in {"None", ""} else f"{word} ({reason})")
    return ", ".join(f"{words.count(word)} {word}" if len(words) > 1 else word for word in dict.fromkeys(words))


class Slurm:
    """Jobs of `milbench.jobs` on SLURM; `hpo --workers N` is an array of N jobs that share the study."""

    def start(self, job: "Job", environment: Mapping[str, str], lock: int) -> tuple[str, ...]:
        """Submit it, or all its workers; gives SLURM's number."""
        options = SlurmOptions.of(dict(job.options), job.folder)
        workers, arguments = _workers(job.command)
        python = options.python or sys.executable
        script = Script(
            command=[python, "-P", "-m", "milbench.cli", *arguments],
            options=options,
            name=f"milbench-{job.command[0]}",
            log=job.folder / LOG,
            cwd=job.cwd,
            tasks=workers,
            variables=job.environment(),
        )
        return (submit(script, job.folder / "job.sh", environment),)

    def phase(self, job: "Job") -> Phase:
        """What SLURM says of it."""
        return phase_of(job.ids[0]) if job.ids else Phase("gone")

    def stop(self, job: "Job", grace_s: float) -> None:
        """Cancel it; SLURM asks its processes to end, and ends them after a time of its own if they do not."""
        if self.phase(job).name != "gone":
            cancel(job.ids[0])
        for wait_s in (grace_s, _PATIENCE):
            until = time.monotonic() + wait_s
            while self.phase(job).name != "gone" and time.monotonic() < until:
                time.sleep(_FRESH_S / 4)
            if self.phase(job).name != "gone":
                _asked(["scancel", "--full", "--signal=KILL", job.ids[0]])


def _workers(command: Sequence[str]) -> tuple[int | None, list[str]]:
    """How many tasks `hpo --workers N` is, and the command of each; no array for anything else."""
    if command[0] != "hpo":
        return None, list(command)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=1)
    known, rest = parser.parse_known_args(list(command))
    return (known.workers if known.workers > 1 else None), rest


def _asked(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What a command of SLURM answers; one that is missing, refuses or does not answer is an error of one line."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except FileNotFoundError as error:
        do = "run this where the cluster's commands are, on a login node"
        raise ConfigError("--cluster slurm", f"there is no {command[0]} on this machine", do=do) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(command[0], f"did not answer for {_PATIENCE:g} s", do="try again later") from error
    if done.returncode:
        do = "mend your cluster.toml or the flags" if command[0] == "sbatch" else ""
        said = [line.removeprefix(f"{command[0]}: ").removeprefix("error: ") for line in done.stderr.strip().splitlines()]
        raise ClusterError(command[0], ", ".join(said) if said else f"exit status {done.returncode}", do=do)
    return done.stdout.strip()
