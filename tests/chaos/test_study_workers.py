"""Studies of many workers, killed and started again: nothing finished is lost, nothing runs for ever, the budget is exact."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from milbench.training.claims import CONFIGURATION, FINISHED
from milbench.training.storage import load_study
from reliability import Figure

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
WORKER = Path(__file__).with_name("study_worker.py")


def place(kind: str, folder: Path) -> str:
    """Where a study of this kind of storage lives."""
    return "default" if kind == "sqlite" else f"journal:{folder / 'journal.log'}"


def start(folder: Path, url: str, trials: int, processes: int, step_s: float) -> subprocess.Popen[bytes]:
    args = [str(folder), url, str(trials), str(processes), str(step_s)]
    return subprocess.Popen([sys.executable, str(WORKER), *args], start_new_session=True)


def end(group: subprocess.Popen[bytes]) -> None:
    os.killpg(group.pid, signal.SIGKILL)
    group.wait()


def study_of(folder: Path, url: str) -> optuna.Study:
    return load_study(folder, None if url == "default" else url)


def finished(trials: list[FrozenTrial]) -> dict[int, tuple[float | None, dict[str, float]]]:
    return {trial.number: (trial.value, trial.params) for trial in trials if trial.state in FINISHED}


def duplicates(trials: list[FrozenTrial]) -> int:
    """Finished trials beyond the first of a configuration, or of the same parameters."""
    done = [trial for trial in trials if trial.state in FINISHED]
    distinct = len({trial.user_attrs[CONFIGURATION] for trial in done}), len({str(trial.params) for trial in done})
    return len(done) - min(distinct)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_eight_workers_finish_four_hundred_trials_of_four_hundred(kind: str, tmp_path: Path, reliability: Figure) -> None:
    url = place(kind, tmp_path)
    assert start(tmp_path, url, 400, 8, 0.0).wait(800) == 0
    trials = study_of(tmp_path, url).get_trials(deepcopy=False)
    assert len(trials) == len(finished(trials)) == 400
    assert duplicates(trials) == 0
    reliability(f"8 workers × 50 trials, {kind}", f"{len(finished(trials))} of 400, {duplicates(trials)} duplicates")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_budget_is_exact_with_any_number_of_workers_and_two_restarts(
    workers: int, tmp_path: Path, reliability: Figure
) -> None:
    url = place("sqlite", tmp_path)
    for stop_at in (8, 20):
        group = start(tmp_path, url, 40, workers, 0.05)
        while not (tmp_path / "study.db").is_file() or _count(tmp_path, url) < stop_at:
            assert group.poll() is None
            time.sleep(0.1)
        end(group)
    assert start(tmp_path, url, 40, workers, 0.0).wait(300) == 0
    trials = study_of(tmp_path, url).get_trials(deepcopy=False)
    assert len(finished(trials)) == 40
    assert TrialState.RUNNING not in [trial.state for trial in trials]
    assert duplicates(trials) == 0
    reliability(f"--trials 40 with {workers} worker(s), all killed twice", f"{len(finished(trials))} of 40")


def _count(folder: Path, url: str) -> int:
    study = study_of(folder, url) if (folder / "study.db").stat().st_size else None
    return 0 if study is None else len(finished(study.get_trials(deepcopy=False)))
