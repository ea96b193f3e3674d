"""`milbench jobs`: list, start, follow, stop and resume jobs."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from milbench import jobs
from milbench.cluster import ClusterFlags, default_config, taken, write_template
from milbench.data_commands import Said
from milbench.errors import ConfigError

Action = Literal["list", "start", "follow", "stop", "resume", "template"]
ACTIONS = ("list", "start", "follow", "stop", "resume", "template")


@dataclass(frozen=True)
class JobsConfig:
    """Jobs that outlive their terminal. `milbench jobs [ROOT]` lists those below ROOT (runs), `jobs start FOLDER COMMAND ...`
    starts one with FOLDER as its folder (of run and hpo: the study folder), `jobs follow | stop | resume FOLDER` does that.
    With --cluster slurm a command runs on your cluster; `jobs template FILE` writes a commented cluster.toml to start from.
    """

    action: Annotated[Action, tyro.conf.Positional] = "list"
    """list, start, follow, stop, resume or template."""
    words: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """The folder: to look below (list), or the job's; of start, the command of milbench after it."""


def start_of(args: Sequence[str]) -> JobsConfig | None:
    """`jobs start FOLDER COMMAND ...`, whose command's flags are none of ours; None for anything else."""
    if list(args[:2]) != ["jobs", "start"] or set(args[2:3]) & {"--help", "-h"}:
        return None
    return JobsConfig("start", tuple(args[2:]))


def spelled(args: Sequence[str]) -> list[str]:
    """`jobs ROOT` as `jobs list ROOT`."""
    root = list(args[:1]) == ["jobs"] and len(args) > 1 and args[1] not in ACTIONS and not args[1].startswith("-")
    return [args[0], "list", *args[1:]] if root else list(args)


def run_jobs(config: JobsConfig) -> Said:
    """Do what is asked; gives the lines to print."""
    if config.action == "list":
        return listed(Path(next(iter(config.words), "runs"))), 0
    first, *command = config.words or ("",)
    if not first or (command and config.action != "start"):
        raise ConfigError(
            f"jobs {config.action}",
            got=" ".join(config.words),
            want="the file to write" if config.action == "template" else "the job's folder",
        )
    folder = Path(first)
    if config.action == "template":
        path = write_template(folder)
        return [
            f"{path}: written; take the # off what you need",
            f"  milbench reads it from {default_config()}, if it is there",
        ], 0
    if config.action == "follow":
        for line in jobs.follow(folder):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        state = jobs.state_of(folder)
        return [_line(state)], 0 if state.state == "done" else 1
    if config.action == "stop":
        return [_line(jobs.stop(folder))], 0
    if config.action == "start":
        return started(_submitted(*taken(command), folder)), 0
    return started(jobs.resume(folder)), 0


def sent(name: str, config: Any, args: Sequence[str]) -> jobs.Job | None:
    """The job, where a command with a study folder asks for a cluster; None where it is to run here."""
    flags = getattr(config, "slurm", None)
    if not isinstance(flags, ClusterFlags) or flags.cluster == "none" or name not in jobs.STUDIES:
        return None
    return _submitted(taken(args)[0], flags, config.study_dir)


def _submitted(command: list[str], flags: ClusterFlags, folder: Path) -> jobs.Job:
    if flags.cluster == "none":
        return jobs.submit(command, folder)
    options = flags.options(next(iter(command), ""))
    return jobs.submit(command, folder, flags.cluster, options.plain())


def started(job: jobs.Job) -> list[str]:
    """What to do next."""
    folder = _short(job.folder)
    where = f" on {job.cluster}: {', '.join(job.ids)}" if job.cluster != "local" else ""
    return [f"{job.folder}: started{where}", f"  milbench jobs follow {folder}", f"  milbench jobs stop {folder}"]


def listed(root: Path) -> list[str]:
    """A line a job, newest first."""
    if not root.is_dir():
        raise ConfigError(root, "no such folder", do="name the folder that your runs lie in")
    return [_line(state) for state in jobs.jobs_in(root)] or [
        f"no job below {root}; start one with: milbench jobs start FOLDER ..."
    ]


def _line(state: jobs.JobState) -> str:
    """state, kind, progress, age, folder and what it is at."""
    share = f"{state.done}/{state.total}" if state.total else "-"
    age = "" if state.updated is None else _ago(time.time() - state.updated)
    return f"{state.state:8} {state.kind:8} {share:>9} {age:>8}  {_short(state.folder)}  {state.stage}"


def _short(folder: Path) -> Path:
    """As seen from here."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _ago(seconds: float) -> str:
    """How long ago, in the largest unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
