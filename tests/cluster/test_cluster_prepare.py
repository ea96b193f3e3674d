"""Prepare on a cluster gives the bytes of a local run, whatever becomes of its jobs."""

import hashlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rdkit import RDConfig
from slurm_node import SlurmNode, wait_until

from milbench.cli import main
from milbench.files import write_text

pytestmark = pytest.mark.cluster

CLUSTER_TOML = """\
partition = "main"
time = 10
gpus = "1"
setup = ["export FROM_SETUP='it ran'"]
sbatch = ["--comment=from the file"]

[prepare]
cpus = 2
gpus = 0
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    path = tmp_path_factory.mktemp("with a space and 50%") / "in.smi"
    write_text(path, "\n".join([line for line in lines if len(line) < 35][:24]) + "\n")
    write_text(path.parent / "cluster.toml", CLUSTER_TOML)
    return path


def asked(source: Path, out: str, *flags: str) -> list[str]:
    """The arguments of a quick prepare in eight shards."""
    sets = ["--sets_2d", "conjugation", "--sets_3d", "usr", "--conformers", "2", "--shard_size", "3"]
    return ["prepare", str(source), "--out", str(source.parent / out), *sets, *flags]


def on_slurm(source: Path, out: str, *flags: str) -> list[str]:
    return asked(source, out, "--cluster", "slurm", "--cluster_config", str(source.parent / "cluster.toml"), *flags)


def started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "milbench.cli", *arguments], stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def undisturbed(source: Path) -> dict[str, str]:
    assert main(asked(source, "undisturbed")) == 0
    return digest(source.parent / "undisturbed")


def digest(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


def queued(slurm: SlurmNode) -> list[str]:
    return slurm.ask("squeue", "--noheader", "--array", "--name=milbench-prepare", "--format=%i").split()


def submitted(slurm: SlurmNode, process: subprocess.Popen[str]) -> list[str]:
    """Its tasks, once they are in the queue."""
    wait_until(lambda: queued(slurm) or process.poll() is not None, "the array to be in the queue", slurm.logs)
    return queued(slurm)


def test_a_cancelled_task_is_said_and_the_same_call_finishes_the_store(
    slurm: SlurmNode, source: Path, undisturbed: dict[str, str]
) -> None:
    disturbed = started(on_slurm(source, "disturbed", "--parallel", "2"))
    tasks = submitted(slurm, disturbed)
    assert len(tasks) == 4
    slurm.await_state(tasks[0], "RUNNING")
    slurm.ask("scancel", tasks[0])
    _, said = disturbed.communicate()
    assert disturbed.returncode == 2
    assert re.search(r"[12] of 8 shards did not finish \(SLURM says: .*cancelled.*\); read their logs in", said), said
    script = (source.parent / "disturbed.work" / "jobs" / "job.sh").read_text()
    assert "#SBATCH --array=0-3%2" in script and "#SBATCH --cpus-per-task=2" in script
    assert "--gres" not in script and "FROM_SETUP" in script  # the table of prepare overrides the file, the flag both
    assert main(on_slurm(source, "disturbed")) == 0
    assert digest(source.parent / "disturbed") == undisturbed


def test_a_call_that_is_stopped_or_killed_leaves_no_jobs_to_work_in_vain(
    slurm: SlurmNode, source: Path, undisturbed: dict[str, str]
) -> None:
    for ending in (signal.SIGINT, signal.SIGKILL):
        process = started(on_slurm(source, "stopped", "--parallel", "1"))
        assert submitted(slurm, process)
        process.send_signal(ending)
        _, said = process.communicate()
        if ending == signal.SIGINT:
            assert "run the same command again to go on" in said
            wait_until(lambda: not queued(slurm), "the array to be cancelled", slurm.logs)
    killed = queued(slurm)
    assert killed
    assert main(on_slurm(source, "stopped")) == 0
    assert not queued(slurm)
    assert digest(source.parent / "stopped") == undisturbed
