"""Prepare can be killed, repeated and spread out, and gives the same bytes."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from prepared import config, digest, nci, prepared

from milbench.chem.merge import merge
from milbench.chem.prepare import prepare
from milbench.data.store import load_store
from milbench.errors import ConfigError, DataError, MilbenchError
from milbench.files import hold_lock

SLEEPY = """
import os, time
import numpy as np
from milbench.chem.descriptors import Set2D

def compute(mol):
    n = mol.GetNumAtoms()
    if n == 4:
        time.sleep(1000)
    while n == 5:
        pass
    if n == 6:
        raise RuntimeError("six atoms")
    if n == 7:
        os.abort()
    return np.array([float(n)])

SIZE = Set2D("size", ("size",), compute)
"""
SCRIPT = """
import sys
from pathlib import Path
from prepared import prepared
prepared(Path(sys.argv[1]), Path(sys.argv[2]), shard_size=3, processes=2)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nci") / "in.csv"
    nci(24, largest=30).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def undisturbed(source: Path) -> dict[str, str]:
    prepared(source, source.parent / "undisturbed", shard_size=3)
    return digest(source.parent / "undisturbed")


def test_one_process_and_two_give_the_same_bytes(source: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    prepared(source, tmp_path / "store", shard_size=3, processes=2)
    assert digest(tmp_path / "store") == undisturbed
    assert not (tmp_path / "store.work").exists()


def killed(source: Path, out: Path, after: float) -> bool:
    """Start prepare as its own process, kill -9 it after so many seconds; whether it was still running."""
    process = started(source, out)
    try:
        _, said = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0, said
    return False


def started(source: Path, out: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    arguments = [sys.executable, "-c", SCRIPT, str(source), str(out)]
    return subprocess.Popen(arguments, env=env, stderr=subprocess.PIPE, text=True)


def test_killed_while_computing_it_goes_on_from_the_finished_shards(
    source: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    process = started(source, out)
    shards = tmp_path / "store.work" / "shards"
    while process.poll() is None and not (shards.is_dir() and list(shards.glob("0*"))):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    finished = {path.name: path.stat().st_mtime_ns for path in shards.glob("0*")}
    assert 0 < len(finished) < 8
    seen = {}

    def watch(*args: object) -> None:
        seen.update({path.name: path.stat().st_mtime_ns for path in shards.glob("0*")})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("milbench.chem.prepare.merge", lambda *args: (watch(), merge(*args)))
        prepared(source, out, shard_size=3)
    assert {name: seen[name] for name in finished} == finished
    assert digest(out) == undisturbed


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_killed_at_20_random_moments_it_ends_bitwise_equal(source: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    start = time.monotonic()
    assert not killed(source, tmp_path / "timed", 600)
    whole, draw, kills, attempt = time.monotonic() - start, random.Random(0), 0, 0
    while kills < 20:
        out = tmp_path / f"store{attempt}"
        while killed(source, out, draw.uniform(0.35, 1.05) * whole):
            kills += 1
        assert digest(out) == undisturbed
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith((f".store{attempt}", f"{out.name}."))] == []
        attempt += 1


def test_a_molecule_that_hangs_or_crashes_costs_itself_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "in.smi").write_text("".join(f"{'C' * n} n{n}\n" for n in (3, 4, 5, 6, 7, 8, 2)))
    sets = {"sets_2d": ("sleepy:SIZE",), "conformers": 0, "time_limit": 0.2, "shard_size": 7}
    report = prepared(tmp_path / "in.smi", tmp_path / "store", **sets)
    assert report["reason"].tolist() == ["", "time_limit", "time_limit", "crashed", "crashed", "", ""]
    assert report["detail"].tolist()[1:5] == [
        "more than 0.2 s, at: size",
        "more than 0.2 s, at: size",
        "RuntimeError: six atoms, at: size",
        "SIGABRT, at: size",
    ]
    assert load_store(tmp_path / "store")[0].x2d.flatten().tolist() == [3, 8, 2]


def test_a_set_that_fails_on_everything_stops_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("milbench.chem.worker.MOST_CRASHES", 3)
    (tmp_path / "in.smi").write_text("CCCCCC\n" * 5)
    with pytest.raises(DataError, match="3 molecules in a row crashed, the last with RuntimeError: six atoms"):
        prepare(config(tmp_path / "in.smi", tmp_path / "store", sets_2d=("sleepy:SIZE",), conformers=0))


def test_work_of_other_settings_or_another_input_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise MilbenchError("stopped", "after planning")

    with monkeypatch.context() as patch:
        patch.setattr("milbench.chem.prepare._compute", stop)
        with pytest.raises(MilbenchError, match="stopped"):
            prepare(config(source, tmp_path / "store"))
    with pytest.raises(ConfigError, match=r"settings\.conformers was 2, now 3"):
        prepare(config(source, tmp_path / "store", conformers=3))
    other = tmp_path / "in.csv"
    nci(5).to_csv(other, index=False)
    with pytest.raises(ConfigError, match=r"input\.sha256"):
        prepare(config(other, tmp_path / "store"))
    with hold_lock(tmp_path / "store.work" / "lock"), pytest.raises(ConfigError, match="another prepare is working here"):
        prepare(config(source, tmp_path / "store"))


def test_a_finished_store_is_left_as_it_is(source: Path, tmp_path: Path) -> None:
    small = tmp_path / "in.csv"
    nci(4).to_csv(small, index=False)
    lines = prepare(config(small, tmp_path / "store"))
    before = digest(tmp_path / "store")
    assert prepare(config(small, tmp_path / "store", processes=2)) == lines and digest(tmp_path / "store") == before
    with pytest.raises(ConfigError, match=r"settings\.seed was 0, now 1"):
        prepare(config(small, tmp_path / "store", seed=1))


def test_a_worker_that_is_ended_from_outside_loses_no_molecule(
    source: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from milbench.chem import shards

    whole = shards.Worker.results

    def murdered(self, structures):  # type: ignore[no-untyped-def]
        for n, result in enumerate(whole(self, structures)):
            if n == 1 and self._process is not None:
                self._process.terminate()
                self._process.wait()
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(shards.Worker, "results", murdered)
        with pytest.raises(DataError, match=r"ended from outside \(SIGTERM"):
            prepared(source, tmp_path / "store", shard_size=3)
    prepared(source, tmp_path / "store", shard_size=3)
    assert digest(tmp_path / "store") == undisturbed


@pytest.mark.slow
def test_a_200_atom_macrocycle_is_embedded_when_it_is_given_the_time(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("O1" + "C" * 198 + "N1 ring\n")
    report = prepared(tmp_path / "in.smi", tmp_path / "store", conformers=1)
    assert report["outcome"][1] != "dropped" and len(load_store(tmp_path / "store")[0].xinst) == 1


MEMORY = """
import re, resource, sys
from pathlib import Path
from prepared import prepared
prepared(Path(sys.argv[1]), Path(sys.argv[2]), conformers=0, sets_2d=("morgan:236:2",), shard_size=256)
own = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(*(kib / 2**20 for kib in (own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)))
"""
"""GiB at most of `prepare` itself and of its largest worker (`ru_maxrss` of the first would count pytest's too)."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    peaks = []
    for copies in (1, 4):
        rows = pd.concat([nci(2000).assign(ID=lambda t, k=k: t["ID"] + f"-{k}") for k in range(copies)])
        rows.to_csv(tmp_path / f"{copies}.csv", index=False)
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        arguments = [sys.executable, "-c", MEMORY, str(tmp_path / f"{copies}.csv"), str(tmp_path / f"{copies}")]
        out = subprocess.run(arguments, env=env, check=True, capture_output=True, text=True).stdout
        peaks.append(sum(map(float, out.split())))
    assert peaks[1] < 1.5 and peaks[1] - peaks[0] < 0.15  # GiB, for 2,000 and 8,000 molecules
