"""What a SLURM cluster is asked for: a TOML file of yours, and flags that override it. Loads nothing heavy."""

import argparse
import dataclasses
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from milbench.errors import ConfigError
from milbench.files import write_text
from milbench.flags import OptionalCount, OptionalPath, OptionalText
from milbench.registry import did_you_mean

SECTIONS = ("run", "hpo", "prepare", "predict")
"""Commands that may have a table of their own in the file."""
_COUNTS = ("cpus", "parallel", "notice_s")
_PATTERNS = {
    "time": (r"\d+(:\d\d?){0,2}|\d+-\d\d?(:\d\d?){0,2}", "12:00:00, 90 (minutes) or 1-12 (days and hours)"),
    "gpus": (r"(\w+:)?\d+", "1 or a100:1"),
    "memory": (r"\d+[KMGT]?", "32G"),
}

TEMPLATE = """\
# milbench on your SLURM cluster. Put it at ~/.config/milbench/cluster.toml, or name it with --cluster_config.
# Take the # off what you need. Flags of the same names (--partition, --time, ...) override it for one command.

# partition = "gpu"        # sinfo shows the partitions
# account = "my-project"   # who pays
# qos = "normal"
# time = "12:00:00"        # longest time of a job: minutes, hours:minutes:seconds or days-hours; just before, the job
#                          # saves its state and is queued again, so short times are fine, and start sooner
# gpus = 1                 # of each job; or with their type: "a100:1"
# cpus = 8                 # of each job
# memory = "32G"           # of each job
# parallel = 8             # most jobs of an array at the same time
# notice_s = 120           # how many seconds before `time` is over a job saves its state

# Lines of shell that each job runs first:
# setup = ["module load cuda", "source ~/miniforge3/bin/activate milbench"]
# python = "python"        # after the setup; default: the Python that submitted the job, by its full path
# sbatch = ["--constraint=a100", "--mail-type=FAIL"]  # anything else that sbatch knows, unquoted

# A table for one command overrides the above: run, hpo, prepare, predict.
# [prepare]
# partition = "cpu"
# gpus = 0
# time = "4:00:00"
"""


@dataclass(frozen=True)
class SlurmOptions:
    """What is asked for each job; None is the cluster's own default. The template says what each means."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str | None = None
    gpus: str | None = None
    cpus: int | None = None
    memory: str | None = None
    parallel: int | None = None
    notice_s: int = 120
    setup: tuple[str, ...] = ()
    python: str | None = None
    sbatch: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: dict[str, Any], where: object) -> "SlurmOptions":
        """Options from plain values, checked; a ConfigError says which is wrong, and `where` it is."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(where, "unknown option", got=name, do=did_you_mean(name, known) or f"use {', '.join(known)}")
        return cls(**{name: _checked(name, value, f"{where}, {name}") for name, value in given.items()})

    def plain(self) -> dict[str, Any]:
        """The reverse of `of`, in plain JSON types: what is asked for at all."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class ClusterFlags:
    """Work on a SLURM cluster. What is not given is read from your cluster.toml; `milbench jobs template FILE` writes one."""

    cluster: Literal["none", "slurm"] = "none"
    """Work here (none), or send the work to SLURM."""
    cluster_config: OptionalPath = None
    """Your cluster.toml; default: ~/.config/milbench/cluster.toml, if it is there."""
    partition: OptionalText = None
    """Partition."""
    account: OptionalText = None
    """Account."""
    time: OptionalText = None
    """Longest time of a job (minutes, H:M:S, D-H); a job that needs more is queued again and goes on."""
    gpus: OptionalText = None
    """GPUs of a job: 1, or a100:1."""
    cpus: OptionalCount = None
    """CPUs of a job."""
    memory: OptionalText = None
    """Memory of a job, such as 32G."""
    parallel: OptionalCount = None
    """Most jobs of an array at the same time."""

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            _checked(name, value, f"--{name}")
            if self.cluster == "none":
                raise ConfigError(f"--{name}", "is a wish to a cluster", do="add --cluster slurm, or leave it out")

    def given(self) -> dict[str, Any]:
        """The wishes that were given as flags."""
        values = {name: value for name, value in vars(self).items() if name not in {"cluster", "cluster_config"}}
        return {name: value for name, value in values.items() if value is not None}

    def options(self, command: str) -> SlurmOptions:
        """What a job of `command` asks for: the file, its table for the command, then the flags."""
        path = self.cluster_config or default_config()
        content = read_config(path) if self.cluster_config or path.is_file() else {}
        wanted = content | content.get(command, {}) | self.given()
        return SlurmOptions.of({name: value for name, value in wanted.items() if name not in SECTIONS}, path)


Flags = Annotated[ClusterFlags, tyro.conf.OmitArgPrefixes]
"""The flags as a group of a command's flags."""


def taken(args: Sequence[str]) -> tuple[list[str], ClusterFlags]:
    """A command line without its cluster flags, and these."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for field in dataclasses.fields(ClusterFlags):
        parser.add_argument(f"--{field.name}", f"--{field.name.replace('_', '-')}", default=None)
    known, rest = parser.parse_known_args(list(args))
    values: dict[str, Any] = {name: value for name, value in vars(known).items() if value is not None}
    for name in _COUNTS:
        if str(values.get(name, "")).isdigit():
            values[name] = int(values[name])
    if "cluster_config" in values:
        values["cluster_config"] = Path(values["cluster_config"])
    if values.get("cluster", "none") not in {"none", "slurm"}:
        raise ConfigError("--cluster", got=values["cluster"], want="none or slurm")
    return rest, ClusterFlags(**values)


def default_config() -> Path:
    """Where your cluster.toml lies."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "milbench" / "cluster.toml"


def read_config(path: Path) -> dict[str, Any]:
    """The content of a cluster.toml, every table checked."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read ({error})", do="check --cluster_config") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            path, f"is not valid TOML ({error})", do="`milbench jobs template FILE` writes one to start from"
        ) from error
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    for name in tables:
        if name not in SECTIONS:
            raise ConfigError(path, "unknown table", got=name, want=", ".join(SECTIONS))
    SlurmOptions.of({name: value for name, value in content.items() if name not in tables}, path)
    for name, table in tables.items():
        SlurmOptions.of(table, f"{path} [{name}]")
    return content


def write_template(path: Path) -> Path:
    """Write the commented file to start from; one that is there already is a ConfigError."""
    if path.exists():
        raise ConfigError(path, "is there already", do="choose another name, or edit it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, TEMPLATE)
    return path


def _checked(name: str, value: Any, where: str) -> Any:
    """A wish as it is kept."""
    want, kept = "", value
    if name in {"setup", "sbatch"}:
        if not isinstance(value, list | tuple) or not all(isinstance(line, str) for line in value):
            want = "a list of texts"
        elif name == "sbatch" and not all(line.startswith("--") for line in value):
            want = "options of sbatch, such as --constraint=a100"
        else:
            kept = tuple(value)
    elif name in _COUNTS:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            want = "a whole number, 1 or more"
    elif name in _PATTERNS:
        pattern, example = _PATTERNS[name]
        kept = str(value)
        if not isinstance(value, int | str) or not re.fullmatch(pattern, kept):
            want = f"such as {example}"
    elif not isinstance(value, str) or not value.strip() or "\n" in value:
        want = "a text"
    if want:
        raise ConfigError(where, got=value, want=want)
    return kept
