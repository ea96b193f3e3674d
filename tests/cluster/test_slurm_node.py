"""The cluster that the other tests stand on is a real one, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_node import SlurmNode, slurm_node, wait_until

pytestmark = pytest.mark.cluster

HOLD = """
import sys, time
from slurm_node import slurm_node, wait_until
with slurm_node() as node:
    node.ask("sbatch", "--output=/dev/null", f"--wrap=touch {node.folder}/began; exec sleep 600")
    wait_until((node.folder / "began").exists, "the job to begin", node.logs)
    print(node.folder, flush=True)
    time.sleep(600)
"""


def test_a_script_runs_on_the_gpu_that_it_was_given(slurm: SlurmNode, tmp_path: Path) -> None:
    script = "--wrap=srun hostname; echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $CUDA_VISIBLE_DEVICES; sleep 2"
    job = slurm.ask("sbatch", "--parsable", "--array=0-1", f"--output={tmp_path}/%a", "--gpus-per-node=1", script)
    for task in range(2):
        assert slurm.await_state(f"{job}_{task}", "COMPLETED", "FAILED") == "COMPLETED"
    said = [(tmp_path / str(task)).read_text().split()[1:] for task in range(2)]
    assert [words[:2] for words in said] == [[job, "0"], [job, "1"]]
    assert {words[2] for words in said} == {"0", "1"}


def test_what_a_killed_test_run_left_is_cleared_away() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    with killed.stdout as stdout:
        folder = Path(stdout.readline().strip())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert folder.is_dir() and belonging(folder)  # the job at least goes on
    with slurm_node() as node:
        assert node.folder != folder and belonging(node.folder)
        wait_until(lambda: not belonging(folder), "its processes to end")
        assert not folder.exists()
    assert not belonging(node.folder) and not node.folder.exists()


def belonging(folder: Path) -> list[Path]:
    """Processes that SLURM of this folder started, or that are it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has just ended
            continue
        if str(folder).encode() in words:
            found.append(process)
    return found
