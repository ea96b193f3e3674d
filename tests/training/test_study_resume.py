"""An interrupted trial, asked for again, goes on from its last fold and checkpoint; the study ends as if nothing had been."""

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from milbench.errors import StudyError
from milbench.files import lend_lock, write_json
from milbench.run_config import PrunerConfig
from milbench.stopping import stop_signals
from milbench.training.claims import Claims
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.fold import Epoch
from milbench.training.module import MILModule
from milbench.training.resume import TrainingCheckpoint
from milbench.training.study import MILStudyRunner
from milbench.training.work import TRIALS_WORK, forget_work, trial_work
from runs import cv_run, finished, small_cv, trials_of

DATA = small_cv(3)


@pytest.fixture(autouse=True)
def optuna_as_before() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture(autouse=True)
def checkpoint_always(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TrainingCheckpoint.__init__

    def init(self: TrainingCheckpoint, *args: Any, **keeps: Any) -> None:
        honest(self, *args, **keeps)
        self.every_s = self._pause = 0.0

    monkeypatch.setattr(TrainingCheckpoint, "__init__", init)


def runner(folder: Path, watch: Any = None, **changes: Any) -> MILStudyRunner:
    return MILStudyRunner(MILCrossValidator(DATA, cv_run(**changes), watch), folder)


def at(place: tuple[int, int, int], error: BaseException) -> Any:
    """Raise once, when trial, fold and epoch come there."""
    left = [error]

    def watch(trial: int, fold: int, epoch: Epoch) -> None:
        if (trial, fold, epoch.number) == place and left:
            raise left.pop()

    return watch


def figures(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial found, but for time, memory, and who ran it."""
    kept = {k: v for k, v in trial.user_attrs.items() if k.startswith(("fold_", "ap_", "macro_ap"))}
    return {k: v for k, v in kept.items() if not k.endswith(("seconds", "peak_memory_mb"))}


@pytest.mark.parametrize("place", [(0, 0, 1), (0, 2, 0), (1, 1, 2)])
def test_the_study_ends_bit_for_bit_as_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[int, int, int]
) -> None:
    runner(tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path / "halves", at(place, KeyboardInterrupt())).run()
    steps: list[tuple[int, int, int]] = []
    honest = MILModule.training_step

    def step(self: MILModule, batch: Any, batch_idx: int) -> None:
        steps.append((self.fold.number, self.current_epoch, batch_idx))
        honest(self, batch, batch_idx)

    monkeypatch.setattr(MILModule, "training_step", step)
    runner(tmp_path / "halves").run()
    assert steps[0] == (*place[1:], 1)  # after the last step of the optimizer; one more batch ends that epoch
    assert finished(tmp_path / "halves") == finished(tmp_path / "whole")
    done = [[trial for trial in trials_of(tmp_path / name) if trial.value is not None] for name in ("halves", "whole")]
    for resumed, whole in zip(*done, strict=True):
        assert figures(resumed) == figures(whole)
        assert resumed.intermediate_values == whole.intermediate_values
    oof = [pd.read_parquet(tmp_path / name / "oof.parquet").drop(columns="trial") for name in ("halves", "whole")]
    pd.testing.assert_frame_equal(*oof, check_exact=True)
    assert not (tmp_path / "halves" / TRIALS_WORK).exists()


def test_what_a_trial_keeps_goes_when_it_is_over_and_stays_when_it_is_interrupted(tmp_path: Path) -> None:
    there: list[int] = []
    root = tmp_path / TRIALS_WORK

    def watch(trial: int, fold: int, epoch: Epoch) -> None:
        there.append(len([path for path in root.iterdir() if path.is_dir()]))
        if (trial, fold) == (1, 0):
            raise StudyError("fold 0", "parameter x became NaN")
        if (trial, fold) == (2, 1):
            raise optuna.TrialPruned
        if (trial, fold, epoch.number) == (3, 1, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, watch, trials=9, pruner=PrunerConfig("none")).run()
    states = [trial.state for trial in trials_of(tmp_path)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.FAIL]
    assert set(there) == {1}
    (left,) = [path for path in root.iterdir() if path.is_dir()]
    assert sorted(path.name for path in left.iterdir()) == ["fold_0.ckpt", "fold_1.ckpt", "trial.json"]


def test_what_killed_workers_left_of_trials_that_are_over_goes_at_the_next_start(tmp_path: Path) -> None:
    runner(tmp_path, trials=1).run()
    root = tmp_path / TRIALS_WORK
    for key, trial in (("over", 0), ("not-known", 7)):
        (root / key).mkdir(parents=True)
        write_json(root / key / "trial.json", {"trial": trial})
    forget_work(root, {0}.__contains__)
    assert [path.name for path in root.iterdir()] == ["not-known"]
    with trial_work(root, "at-work", 9) as folder:
        forget_work(root)
        assert folder is not None
        assert folder.is_dir()
    forget_work(root)
    assert not root.exists()


def test_two_workers_with_the_same_parameters_do_not_share_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "milbench"), lend_lock(tmp_path / "key.lock"), trial_work(tmp_path, "key", 4) as folder:
        assert folder is None
    assert "trial 4: another worker trains the same parameters; this one keeps no checkpoints" in caplog.text


def test_other_data_or_settings_have_another_folder(tmp_path: Path) -> None:
    keys = set()
    for data, changes in ((DATA, {}), (small_cv(2), {}), (DATA, {"max_epochs": 4}), (DATA, {"patience": 3})):
        validator = MILCrossValidator(data, cv_run(**changes), at((0, 0, 0), KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            dataclasses.replace(validator, work=tmp_path).objective(optuna.create_study().ask())
        keys = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert len(keys) == 4


def test_a_worker_that_is_ended_before_its_trial_begins_leaves_none_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Claims._create

    def create(self: Claims, *args: Any) -> FrozenTrial:
        honest(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Claims, "_create", create)
        runner(tmp_path, trials=1).run()
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.FAIL]
    runner(tmp_path, trials=1).run()
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_stop_while_parameters_are_stored_waits_until_they_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, asked = optuna.Trial._suggest, []

    def suggest(self: optuna.Trial, name: str, *args: Any) -> Any:
        if not asked:
            signal.raise_signal(signal.SIGTERM)  # with all of them still to be stored
        asked.append(name)
        return honest(self, name, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), stop_signals():
        patch.setattr(optuna.Trial, "_suggest", suggest)
        runner(tmp_path, trials=1).run()
    (trial,) = trials_of(tmp_path)
    assert trial.state == TrialState.FAIL
    assert sorted(trial.params) == sorted(asked)
    assert len(asked) > 1
