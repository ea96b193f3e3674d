"""Studies of many workers, killed and started again: nothing finished is lost, nothing runs for ever, the budget is exact."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from optuna.storages import _CachedStorage
from optuna.trial import FrozenTrial, TrialState

from chaos.postgres import PASSWORD, server
from milbench.storage_url import PASSWORD_VARIABLE, STUDY_NAME
from milbench.training.claims import FINISHED, LOST
from milbench.training.storage import load_study
from milbench.trial_tables import CONFIGURATION
from reliability import Figure

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
WORKER = Path(__file__).with_name("study_worker.py")
KILLS, WORKERS, TRIALS = 40, 3, 90


@contextmanager
def place(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a study of this kind of storage lives."""
    if kind == "postgresql":
        monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
        with server() as url:
            yield url
    else:
        yield "default" if kind == "sqlite" else f"journal:{folder / 'journal.log'}"


def start(folder: Path, url: str, trials: int, processes: int, step_s: float) -> subprocess.Popen[bytes]:
    args = [str(folder), url, str(trials), str(processes), str(step_s)]
    return subprocess.Popen([sys.executable, str(WORKER), *args], start_new_session=True)


def end(group: subprocess.Popen[bytes]) -> None:
    os.killpg(group.pid, signal.SIGKILL)
    group.wait()


def trials_of(folder: Path, url: str) -> list[FrozenTrial]:
    """Every trial of the study, whose connections are closed again."""
    storage = load_study(folder, None if url == "default" else url)._storage
    trials = storage.get_all_trials(storage.get_study_id_from_name(STUDY_NAME), deepcopy=False)
    if isinstance(storage, _CachedStorage):
        storage.remove_session()
        storage._backend.engine.dispose()
    return trials


def finished(trials: list[FrozenTrial]) -> dict[int, tuple[float | None, dict[str, float]]]:
    return {trial.number: (trial.value, trial.params) for trial in trials if trial.state in FINISHED}


def duplicates(trials: list[FrozenTrial]) -> int:
    """Finished trials beyond the first of a configuration, or of the same parameters."""
    done = [trial for trial in trials if trial.state in FINISHED]
    distinct = len({trial.user_attrs[CONFIGURATION] for trial in done}), len({str(trial.params) for trial in done})
    return len(done) - min(distinct)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_forty_kills_lose_no_finished_trial_and_leave_none_running(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reliability: Figure
) -> None:
    chance, kept = random.Random(kind), dict[int, tuple[float | None, dict[str, float]]]()
    with place(kind, tmp_path, monkeypatch) as url:
        workers = [start(tmp_path, url, TRIALS, 1, 0.25) for _ in range(WORKERS)]
        try:
            began = time.monotonic()
            while not _begun(tmp_path):
                time.sleep(0.1)
            slow = max(1.0, (time.monotonic() - began) / 4)  # where workers start slowly, few would live to work
            for kill in range(KILLS):
                time.sleep(slow * chance.uniform(0.5, 2.0))
                victim = chance.randrange(WORKERS)
                end(workers[victim])
                if kill > 5:  # the study is there
                    kept |= finished(trials_of(tmp_path, url))
                workers[victim] = start(tmp_path, url, TRIALS, 1, 0.25)
            assert [worker.wait(600) for worker in workers] == [0] * WORKERS
        finally:
            for worker in workers:
                if worker.poll() is None:
                    end(worker)
        trials = trials_of(tmp_path, url)
    done = finished(trials)
    lost = [number for number, said in kept.items() if done.get(number) != said]
    interrupted = {trial.user_attrs[CONFIGURATION] for trial in trials if LOST in trial.user_attrs}
    states = [trial.state for trial in trials]
    assert kept
    assert not lost
    assert len(interrupted) > KILLS / 8
    assert states.count(TrialState.RUNNING) == 0
    assert interrupted <= {trial.user_attrs[CONFIGURATION] for trial in trials if trial.state in FINISHED}
    assert duplicates(trials) == 0
    assert len(done) == TRIALS
    for trial in trials:
        if LOST in trial.user_attrs and trial.params:
            again = [other for other in trials if other.user_attrs[CONFIGURATION] == trial.user_attrs[CONFIGURATION]]
            assert all(other.params.items() >= trial.params.items() for other in again if other.state in FINISHED)
    best = max((trial for trial in trials if trial.state == TrialState.COMPLETE), key=lambda trial: trial.value or 0)
    assert pd.read_parquet(tmp_path / "oof.parquet")["pred_glow"].iloc[0] == pytest.approx(best.value)
    figure = f"0 of {len(done)} finished trials lost, 0 running, 0 duplicates, {len(done)} of {TRIALS} trials"
    reliability(
        f"{KILLS} × kill -9 of random workers of {WORKERS}, {kind}", f"{figure}; {len(interrupted)} configurations run again"
    )


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_eight_workers_finish_four_hundred_trials_of_four_hundred(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reliability: Figure
) -> None:
    with place(kind, tmp_path, monkeypatch) as url:
        assert start(tmp_path, url, 400, 8, 0.0).wait(800) == 0
        trials = trials_of(tmp_path, url)
    assert len(trials) == len(finished(trials)) == 400
    assert duplicates(trials) == 0
    reliability(f"8 workers × 50 trials, {kind}", f"{len(finished(trials))} of 400, {duplicates(trials)} duplicates")


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_the_budget_is_exact_with_any_number_of_workers_and_two_restarts(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reliability: Figure
) -> None:
    with place("sqlite", tmp_path, monkeypatch) as url:
        for stop_at in (8, 20):
            group = start(tmp_path, url, 40, workers, 0.05)
            while not _begun(tmp_path) or len(finished(trials_of(tmp_path, url))) < stop_at:
                assert group.poll() is None
                time.sleep(0.1)
            end(group)
        assert start(tmp_path, url, 40, workers, 0.0).wait(300) == 0
        trials = trials_of(tmp_path, url)
    assert len(finished(trials)) == 40
    assert TrialState.RUNNING not in [trial.state for trial in trials]
    assert duplicates(trials) == 0
    reliability(f"--trials 40 with {workers} worker(s), all killed twice", f"{len(finished(trials))} of 40")


def _begun(folder: Path) -> bool:
    """Whether a worker has opened the study, and so made it: it takes its lease thereafter."""
    return any((folder / "workers").glob("*.lock"))
