"""A process's peak is its own, not that of the process that started it."""

import subprocess
import sys

import numpy as np

from milbench.training.memory import process_peak_mb

COMMAND = "from milbench.training.memory import process_peak_mb; print(process_peak_mb())"


def test_the_peak_does_not_count_what_the_parent_holds() -> None:
    held = np.ones(200_000_000)  # 1.5 GiB
    child = subprocess.run([sys.executable, "-c", COMMAND], check=True, capture_output=True, text=True).stdout
    assert 10 < float(child) < process_peak_mb() - held.nbytes / 2**20 / 2
