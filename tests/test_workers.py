"""Several real processes on one study: exact, each with its own place, started again when killed, gone with their master."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from milbench import hpo
from milbench.errors import ConfigError, StudyError
from milbench.pipeline import MILPipelineOrchestrator
from milbench.run_config import HpoConfig
from milbench.testing import SyntheticTables, make_tables
from milbench.workers import environments, visible_gpus, work_together
from runs import BEST_PARAMS, arguments, best_params, config_for, trials_of

WAIT_S = 240


def until(over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not over():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> SyntheticTables:
    return make_tables(tmp_path_factory.mktemp("tables"), 60)


def flags(tables: SyntheticTables, study_dir: Path, **changes: object) -> list[str]:
    config = config_for(tables, study_dir, **{"run_hpo": False, "workers": 2, "trials": 5, "max_epochs": 2, **changes})
    return ["hpo", *arguments(config)[1:]]


def workers_of(master: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(master)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split()]


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_workers_end_exact_also_when_one_is_killed_and_the_best_trials_predictions_are_kept(
    tables: SyntheticTables, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    master = subprocess.Popen([sys.executable, "-m", "milbench.cli", *flags(tables, study)])
    until(lambda: (study / "metrics.jsonl").is_file())
    os.kill(workers_of(master.pid)[0], signal.SIGKILL)
    assert master.wait(WAIT_S) == 0
    trials = trials_of(study)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == 5
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    best = max(complete, key=lambda trial: trial.value or 0)
    assert pd.read_parquet(study / "oof.parquet")["trial"].unique().tolist() == [best.number]
    assert best_params(study)["best_trial"] == best.number
    log = (study / "log.txt").read_text()
    assert "was ended by SIGKILL; started again" in log
    assert log.count("data: 60 molecules") == 1
    assert json.loads((study / "status.json").read_text())["state"] == "done"
    assert not list((study / "workers").glob("*.lock"))


@pytest.mark.slow
def test_workers_stop_when_their_master_is_killed_and_the_same_command_goes_on(tables: SyntheticTables, tmp_path: Path) -> None:
    study = tmp_path / "study"
    command = [sys.executable, "-m", "milbench.cli", *flags(tables, study, max_epochs=4)]
    master = subprocess.Popen(command)
    until(lambda: (study / "metrics.jsonl").is_file())
    workers = workers_of(master.pid)
    master.kill()
    master.wait()
    assert workers
    until(lambda: not any(exists(pid) for pid in workers))
    assert TrialState.RUNNING not in [trial.state for trial in trials_of(study)]
    assert subprocess.run(command, check=False).returncode == 0
    assert [trial.state for trial in trials_of(study)].count(TrialState.COMPLETE) == 5
    assert (study / BEST_PARAMS).is_file()


def test_a_worker_that_fails_ends_all_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"worker \d: .*no/such/store"):
        work_together(["hpo", "--store", "no/such/store", "--study_dir", str(tmp_path)], 2, [], lambda: 0)


def test_each_worker_has_a_gpu_and_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    places = list(environments(4, ["2", "GPU-5"]))
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["2", "GPU-5", "2", "GPU-5"]
    assert {place["OMP_NUM_THREADS"] for place in places} == {"2"}
    assert [place["MILBENCH_WORKER"] for place in places] == ["1", "2", "3", "4"]
    assert "CUDA_VISIBLE_DEVICES" not in next(environments(1, []))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus(2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert visible_gpus(2) == ["3", "1"]


def test_a_worker_is_told_the_search_and_nothing_else(tables: SyntheticTables, tmp_path: Path) -> None:
    config = config_for(tables, tmp_path, workers=3, enqueue=tmp_path / "p.json", ensemble=2, attn_out=tmp_path / "a.csv")
    worker = HpoConfig.worker(config)
    assert (worker.workers, worker.enqueue, worker.run_hpo) == (1, None, True)
    assert (worker.fix, worker.trials, worker.study_dir) == (config.fix, config.trials, config.study_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "--workers: got 0, want 1 or more"),
        ({"workers": 2, "run_hpo": False}, "--workers: is of the search; add --run_hpo"),
        ({"enqueue": Path("p.json"), "run_hpo": False}, "--enqueue: is of the search; add --run_hpo"),
    ],
)
def test_workers_without_a_search_are_refused(
    tables: SyntheticTables, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        MILPipelineOrchestrator(config_for(tables, tmp_path, **changes)).run()


def test_a_storage_that_gives_up_beside_its_workers_is_one_line(
    tables: SyntheticTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise OperationalError("SELECT 1", None, Exception("server closed the connection"))

    monkeypatch.setattr(hpo, "work_together", gone)
    config = HpoConfig(**{**vars(config_for(tables, tmp_path / "study")), "run_hpo": True, "workers": 2})
    with pytest.raises(StudyError, match=r"study: the study's storage gave up \(.*server closed the connection"):
        MILPipelineOrchestrator(config).search()
