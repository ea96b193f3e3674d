"""A full disk is one line that says what to do, leaves nothing half-written, and the study goes on once there is space."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState

from builders import make_bags
from milbench.cli import main
from milbench.data.store import save_store
from milbench.errors import DiskError
from milbench.files import append_json, write_array, write_json, write_table, write_tensors, write_text
from milbench.runlog import RunFolder
from milbench.tasks import EUOS25
from milbench.testing import make_tables
from reliability import Figure
from runs import arguments, config_for, finished, trials_of

pytestmark = pytest.mark.chaos


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # a study's storage may still be open


def fill(disk: Path) -> Path:
    """Take all space that is left, to the last byte."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


NUMBERS = np.arange(600_000, dtype=np.float64)
WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.ckpt": lambda path: write_tensors(path, {"x": torch.from_numpy(NUMBERS)}),
    "a.json": lambda path: write_json(path, NUMBERS),
    "a.txt": lambda path: write_text(path, "x" * 5_000_000),
    "a.parquet": lambda path: write_table(path, pd.DataFrame({"x": NUMBERS * np.pi})),
    "a.csv": lambda path: write_table(path, pd.DataFrame({"x": NUMBERS * np.pi})),
    "a.npy": lambda path: write_array(path, NUMBERS),
    "a.store": lambda path: save_store(path, make_bags(20_000, f2=40), EUOS25, provenance={}),
    "a.jsonl": lambda path: append_json(path, {"x": "x" * 5_000_000}),
}


def test_every_writer_says_so_in_one_line_and_leaves_what_was_there(small_disk: Path, reliability: Figure) -> None:
    for name, write in WRITERS.items():
        path = small_disk / name
        if name != "a.store":
            path.write_text('{"old": 1}\n')
        before = {file: file.read_bytes() for file in small_disk.iterdir()}
        said = rf"{name}: cannot be written \(No space left on device\); free some space"
        with pytest.raises(DiskError, match=said) as caught:
            write(path)
        assert "\n" not in str(caught.value)
        assert {file: file.read_bytes() for file in small_disk.iterdir()} == before
    figure = f"{len(WRITERS)} kinds of files: 1 line each, 0 half-written, 0 older ones lost"
    reliability("a file that the disk has no space for is one line and leaves what was there", figure)


def full_at(patch: pytest.MonkeyPatch, disk: Path, moment: int) -> None:
    """The disk is full when this many epochs have been told."""
    epochs, honest = iter(range(10**6)), RunFolder.metric

    def metric(self: RunFolder, **values: Any) -> None:
        if next(epochs) == moment:
            fill(disk)
        honest(self, **values)

    patch.setattr(RunFolder, "metric", metric)


def test_a_study_whose_disk_is_full_stops_with_one_line_and_goes_on_when_there_is_space(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], reliability: Figure
) -> None:
    tables, moments = make_tables(tmp_path / "tables", 90), (2, 9, 14)
    assert main(arguments(config_for(tables, tmp_path / "whole"))) == 0
    for moment in moments:
        args = arguments(config_for(tables, small_disk / str(moment)))
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            full_at(patch, small_disk, moment)
            status = main(args)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("milbench:")]
        assert len(said) == 1
        assert any(why in said[0] for why in ("No space left", "disk is full", "disk I/O error"))
        assert status == (1 if "No space left" in said[0] else 2)  # a file's own error, or the study's of its storage
        assert not list(small_disk.rglob(".*"))
        (small_disk / "ballast").unlink()
        assert main(args) == 0
        assert finished(small_disk / str(moment)) == finished(tmp_path / "whole")
        assert all(trial.state != TrialState.RUNNING for trial in trials_of(small_disk / str(moment)))
        here, there = (pd.read_parquet(path / "oof.parquet") for path in (small_disk / str(moment), tmp_path / "whole"))
        pd.testing.assert_frame_equal(here.drop(columns="trial"), there.drop(columns="trial"), check_exact=True)
    figure = f"stopped in {len(moments)} places: 1 line; then scores and out-of-fold predictions as without"
    reliability("a study whose disk is full goes on once there is space", figure)
