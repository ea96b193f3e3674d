"""200 × kill -9 while files are written: none that cannot be read, and what was left over is gone after the next start."""

import signal
import time
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from killed_writers import READ, WRITE, write_for_ever
from processes import WAIT_S, exit_code, process

from milbench.files import sweep_orphans
from reliability import Figure

pytestmark = pytest.mark.chaos

KILLS = 50


def kill_a_writer(kind: str, folder: Path, first: int, after_s: float) -> int:
    """Kill a writer `after_s` seconds after it began; gives what earlier ones had left over when it did."""
    ours, theirs = Pipe()
    writer = process(write_for_ever, kind, folder, first, theirs)
    assert ours.poll(WAIT_S)
    left = ours.recv()
    time.sleep(after_s)
    writer.kill()
    assert exit_code(writer) == -signal.SIGKILL
    for end in (ours, theirs):
        end.close()
    return left


@pytest.mark.timeout(600)
def test_no_kill_leaves_a_file_that_cannot_be_read_and_orphans_go_at_the_next_start(
    tmp_path: Path, reliability: Figure
) -> None:
    rng, orphans = np.random.default_rng(0), 0
    for kind in WRITE:
        folder = tmp_path / kind
        folder.mkdir()
        WRITE[kind](folder, 1)
        latest = 1
        for _ in range(KILLS):
            assert kill_a_writer(kind, folder, latest + 1, rng.uniform(0, 0.06)) == 0  # swept when it began
            left = list(folder.glob(".*"))
            orphans += len(left)
            assert len(left) <= 1
            found = READ[kind](folder)  # raises, or holds two versions, if torn
            assert max(found) >= latest  # nothing that was finished is lost
            latest = max(found)
        sweep_orphans(folder)
        assert not list(folder.glob(".*"))
    assert orphans > 20  # else they were not killed while they wrote
    reliability(
        "a file is whole or not there, whenever its writer is killed",
        f"{KILLS * len(WRITE)} × kill -9 during checkpoint, JSON, Parquet and store writes: 0 unreadable files, 0 finished "
        f"versions lost, {orphans} unfinished ones left over, 0 after the next start",
    )
