"""100,000 molecules: constant memory, and the same bytes after a kill -9."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from milbench.data.store_writer import Piece, StorePlan, store_writer
from milbench.data.targets import RawTargets
from milbench.tasks import EUOS25
from predicting import PRED, nci_smiles, real_bags, trained
from reliability import Figure

MOLECULES, PIECE, F2, F3 = 100_000, 5_000, 200, 480
LIMIT_GIB = 1.5
COMMAND = """
import re, sys
from pathlib import Path
from milbench.cli import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""
"""`milbench` that says at its end how much memory it had at most (the kernel's figure for a child counts its parent's too)."""


def write_store(folder: Path) -> int:
    """100,000 molecules of 0 to 20 conformers, written piece by piece; gives the size of its features in bytes."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 21, MOLECULES)
    x2d = rng.normal(3, 2, (PIECE, F2)).astype(np.float32)
    xinst = rng.normal(-1, 5, (int(sizes.max()) * PIECE, F3)).astype(np.float32)
    smiles = np.resize(np.array(nci_smiles(PIECE), dtype=object), PIECE)
    names2d, names_inst = (tuple(f"{letter}{j}" for j in range(n)) for letter, n in (("d", F2), ("g", F3)))
    plan = StorePlan(EUOS25, names2d, names_inst, MOLECULES, int(sizes.sum()))
    with store_writer(folder, plan, {"provenance": {"made_by": "the tests"}, "notes": []}) as writer:
        for start in range(0, MOLECULES, PIECE):
            own = sizes[start : start + PIECE]
            ids = np.array([f"L{i:06d}" for i in range(start, start + PIECE)], dtype=object)
            unknown = {name: np.full(PIECE, np.nan, np.float32) for name in EUOS25.names}
            y, none = np.full((PIECE, 4), np.nan, np.float32), np.zeros((PIECE, 0), np.float32)
            conf_ids = [str(i) for size in own for i in range(size)]
            writer.add(
                Piece(
                    molecules=pd.DataFrame({"ID": ids, "split": "train", "cv_fold": -1, "smiles": smiles} | unknown),
                    conformers=pd.DataFrame({"ID": np.repeat(ids, own), "conf_id": conf_ids}),
                    x2d=np.roll(x2d, start // PIECE, axis=1),
                    xinst=np.roll(xinst[: own.sum()], start // PIECE, axis=1),
                    sizes=own,
                    raw=RawTargets(y, np.ones_like(y), none, none, none, none),
                )
            )
    return 4 * (MOLECULES * F2 + int(sizes.sum()) * F3)


def started(model: Path, store: Path, folder: Path) -> subprocess.Popen[bytes]:
    flags = ["--attn_out", str(folder / "a.parquet"), "--nn_accelerator", "cpu"]
    command = ["-c", COMMAND, "predict", str(model), str(store), "--out", str(folder / "p.parquet"), *flags]
    return subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def peak_gib(process: subprocess.Popen[bytes]) -> tuple[float, str]:
    """The most memory that a process had, once it has ended well, and the last line of its report."""
    said = process.communicate()[0].decode()
    assert process.returncode == 0, said
    *_, report, peak = said.strip().splitlines()
    return int(peak) / 2**20, report


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_100_000_molecules_at_constant_memory_and_the_same_bytes_after_a_kill(tmp_path: Path, reliability: Figure) -> None:
    model = trained(tmp_path / "study", real_bags(60, f2=F2, f3=F3))
    features = write_store(tmp_path / "store")
    assert features > 1.2 * LIMIT_GIB * 2**30  # more than there may be in memory
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, report = peak_gib(started(model, tmp_path / "store", tmp_path / "whole"))
    process, parts = started(model, tmp_path / "store", tmp_path / "killed"), tmp_path / "killed" / "p.parquet.work" / "parts"
    while process.poll() is None and len(list(parts.glob("0*"))) < 12:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = {path.name: path.stat().st_mtime_ns for path in parts.glob("0*")}
    assert 12 <= len(finished) < 25 and not (tmp_path / "killed" / "p.parquet").exists()
    resumed, _ = peak_gib(started(model, tmp_path / "store", tmp_path / "killed"))
    for name in ("p.parquet", "a.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    table = pq.read_table(tmp_path / "whole" / "p.parquet").to_pandas()
    assert len(table) == MOLECULES and table["ID"].is_unique and np.isfinite(table[PRED]).all(axis=None)
    assert max(whole, resumed) < LIMIT_GIB
    speed = report.rpartition(": ")[2]
    reliability("`predict` holds 100,000 molecules with a million conformers under 1.5 GiB", f"{whole:.2f} GiB, {speed}")
    reliability("`predict` killed in the middle and run again writes the same files", "2 of 2 files, byte by byte")
