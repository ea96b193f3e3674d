"""The life of a study: what it records, how it resumes, what it refuses, how it fails."""

import dataclasses
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState

from milbench.configs import HPOConfig, checked_ranges
from milbench.data.bags import BagBatch
from milbench.data.cv import MILCVData
from milbench.data.targets import Targets
from milbench.errors import ConfigError, StudyError
from milbench.metrics import evaluate
from milbench.models.mil import LossTerms, MILTaskAttnMixerWithAux
from milbench.report import study_lines
from milbench.run_config import ARTIFACT_PREFIX, PrunerConfig
from milbench.tasks import EUOS25
from milbench.training.claims import Claims
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.fold import Epoch
from milbench.training.lease import lease
from milbench.training.study import MILStudyRunner, cause
from milbench.workspace import study_figures
from runs import BEST_PARAMS, PINS, best_params, cv_run, finished, level, scripted, small_cv, trials_of


@pytest.fixture(autouse=True)
def optuna_as_before() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(level)


DATA = small_cv(2)


def runner(folder: Path, data: MILCVData = DATA, watch: Any = None, **changes: Any) -> MILStudyRunner:
    return MILStudyRunner(MILCrossValidator(data, cv_run(**changes), watch), folder)


def test_a_study_records_every_fold_of_every_trial_and_the_mean_is_its_value(tmp_path: Path) -> None:
    runner(tmp_path).run()
    for trial in trials_of(tmp_path):
        a = trial.user_attrs
        scores = [a["fold_0_score"], a["fold_1_score"]]
        assert trial.value == pytest.approx(np.mean(scores))
        assert a["macro_ap"] == pytest.approx(np.mean([a["fold_0_macro_ap"], a["fold_1_macro_ap"]]))
        for k in range(2):
            aps = [a[f"fold_{k}_ap_{name}"] for name in EUOS25.names]
            assert a[f"fold_{k}_macro_ap"] == pytest.approx(np.mean(aps))
            assert a[f"fold_{k}_min_ap"] == pytest.approx(min(aps))
            assert scores[k] == pytest.approx(0.7 * np.mean(aps) + 0.3 * min(aps))
            assert 0 <= a[f"fold_{k}_best_epoch"] < a[f"fold_{k}_epochs"] == 3
            assert a[f"fold_{k}_seconds"] > 0
            assert a[f"fold_{k}_peak_memory_mb"] > 10
            assert {f"fold_{k}_auc_{name}" for name in EUOS25.names} <= a.keys()
        for name in EUOS25.names:
            assert a[f"ap_{name}"] == pytest.approx(np.mean([a[f"fold_{k}_ap_{name}"] for k in range(2)]))


def test_the_score_of_a_fold_is_that_of_its_best_epoch_not_its_last(tmp_path: Path) -> None:
    with scripted([[[0.2, 0.9, 0.1], [0.3, 0.1, 0.1]]]):
        study = runner(tmp_path, trials=1).run()
    assert study.best_value == pytest.approx((0.9 + 0.3) / 2)


def test_out_of_fold_predictions_are_the_best_trials_and_give_its_recorded_aps(tmp_path: Path) -> None:
    study = runner(tmp_path).run()
    table = pd.read_parquet(tmp_path / "oof.parquet")
    best = study.best_trial
    assert table["trial"].unique().tolist() == [best.number]
    assert table["ID"].tolist() == DATA.bags.ids.tolist()
    assert table["fold"].tolist() == DATA.fold_of.tolist()
    for k in range(2):
        rows = np.flatnonzero(table["fold"] == k)
        y = table[[f"label_{name}" for name in EUOS25.names]].to_numpy()[rows]
        predicted = table[[f"pred_{name}" for name in EUOS25.names]].to_numpy()[rows]
        np.testing.assert_array_equal(y, DATA.bags.raw.y[rows])
        again = evaluate(y, predicted, DATA.bags.raw.w[rows], EUOS25)
        recorded = [best.user_attrs[f"fold_{k}_ap_{name}"] for name in EUOS25.names]
        np.testing.assert_allclose(again.ap, recorded, atol=1e-6)


def test_a_later_trial_that_is_worse_does_not_replace_the_out_of_fold_predictions(tmp_path: Path) -> None:
    with scripted([level(0.2, 0.2, epochs=2), level(0.9, 0.9, epochs=2), level(0.5, 0.5, epochs=2)]):
        runner(tmp_path, trials=3).run()
    assert set(pd.read_parquet(tmp_path / "oof.parquet")["trial"]) == {1}


def test_the_artifacts_bear_the_seeds_names_and_agree_with_the_study(tmp_path: Path) -> None:
    study = runner(tmp_path).run()
    assert ARTIFACT_PREFIX == "multimodal_mil_aux_gpu"
    table = pd.read_csv(tmp_path / "multimodal_mil_aux_gpu_trials.csv")
    np.testing.assert_allclose(table["value_score"], [trial.value for trial in study.trials])
    params = best_params(tmp_path)
    assert params["best_value_score"] == pytest.approx(study.best_value)
    assert params["best_value_macro_ap_cv"] == pytest.approx(study.best_trial.user_attrs["macro_ap"])
    config = HPOConfig.from_params(params, EUOS25)
    assert {name: config.to_params(EUOS25)[name] for name in study.best_params} == study.best_params
    assert {name: config.to_params(EUOS25)[name] for name in PINS} == PINS
    assert config.objective.min_w == 0.3
    folds = json.loads((tmp_path / "multimodal_mil_aux_gpu_best_fold_metrics.json").read_text())
    assert [fold["fold"] for fold in folds] == [0, 1]
    assert folds[1]["score"] == pytest.approx(study.best_trial.user_attrs["fold_1_score"])


CURVES = [level(score, score, epochs=3) for score in (0.5, 0.7, 0.6, 0.8)]


def test_a_study_in_two_halves_is_the_study_in_one(tmp_path: Path) -> None:
    with scripted(CURVES):
        runner(tmp_path / "whole", trials=4).run()
    with scripted(CURVES):
        runner(tmp_path / "halves", trials=2).run()
        runner(tmp_path / "halves", trials=4).run()
    assert finished(tmp_path / "halves") == finished(tmp_path / "whole")
    assert len({str(params) for _, _, params in finished(tmp_path / "whole")}) == 4
    assert best_params(tmp_path / "halves") == best_params(tmp_path / "whole")


def test_a_finished_study_runs_nothing_more(tmp_path: Path) -> None:
    runner(tmp_path).run()
    seen: list[Epoch] = []
    runner(tmp_path, watch=lambda *what: seen.append(what[2])).run()
    assert not seen
    assert len(trials_of(tmp_path)) == 2


def test_the_budget_counts_pruned_trials_and_is_exact(tmp_path: Path) -> None:
    pruner = PrunerConfig(startup_trials=2, warmup_steps=0)
    good, hopeless = level(0.5, 0.6, epochs=3), level(0.1, 0.1, epochs=3)
    with scripted([good, good, hopeless, good, hopeless]):
        runner(tmp_path, trials=5, pruner=pruner).run()
    states = [trial.state for trial in trials_of(tmp_path)]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.PRUNED]


def test_an_interrupted_trial_fails_and_is_asked_for_again(tmp_path: Path) -> None:
    def interrupt(trial: int, fold: int, epoch: Epoch) -> None:
        if (trial, fold, epoch.number) == (1, 1, 1):
            raise KeyboardInterrupt

    with scripted(CURVES), pytest.raises(KeyboardInterrupt):
        runner(tmp_path / "stopped", trials=3, watch=interrupt).run()
    assert [trial.state for trial in trials_of(tmp_path / "stopped")] == [TrialState.COMPLETE, TrialState.FAIL]
    with scripted(CURVES[1:]):
        again = runner(tmp_path / "stopped", trials=3).run()
    assert study_figures(tmp_path / "stopped")[0] == {"COMPLETE": 3, "INTERRUPTED": 1}
    assert "Trials: 3 complete, 1 interrupted" in study_lines(again, tmp_path)
    with scripted(CURVES):
        runner(tmp_path / "whole", trials=3).run()
    assert finished(tmp_path / "stopped") == finished(tmp_path / "whole")
    here, there = best_params(tmp_path / "stopped"), best_params(tmp_path / "whole")
    assert {**here, "best_trial": None} == {**there, "best_trial": None}  # its number in the study: a failed one counts


def named(folder: Path, machine: str = socket.gethostname()) -> dict[str, str]:
    """The attributes of a trial whose worker is gone."""
    return {"worker": f"{machine}-{(folder / 'workers').stat().st_ino:x}-000000000000", "configuration": "another"}


def test_no_trial_of_a_dead_worker_stays_running_and_its_parameters_are_run(tmp_path: Path) -> None:
    study = runner(tmp_path).open()
    dead = study.ask()
    for name, value in named(tmp_path).items():
        dead.set_user_attr(name, value)
    dropout = dead.suggest_float("mol_dropout", 0.1, 0.25)
    with scripted(CURVES):
        runner(tmp_path).run()
    first, again, other = trials_of(tmp_path)
    assert (first.state, first.user_attrs["lost"]) == (TrialState.FAIL, True)
    assert (again.state, again.params["mol_dropout"]) == (TrialState.COMPLETE, dropout)
    assert again.user_attrs["configuration"] == "another"
    assert (other.state, other.user_attrs["configuration"]) == (TrialState.COMPLETE, 0)


def test_a_worker_elsewhere_is_gone_when_it_has_not_moved_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = runner(tmp_path).open()
    far, own = study.ask(), study.ask()  # the second is of somebody's own code, without a worker's name
    for name, value in named(tmp_path, "another-machine").items():
        far.set_user_attr(name, value)
    with lease(tmp_path / "workers") as own_lease:
        claims = Claims(study, own_lease)
        assert claims.reap() == 0
        monkeypatch.setattr("milbench.training.claims.GRACE_S", 0.0)
        study._storage.set_trial_system_attr(far._trial_id, "beat", 1)
        assert claims.reap() == 0  # it has moved
        assert claims.reap() == 1
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.FAIL, TrialState.RUNNING]
    assert own.number == 1


def test_a_trial_that_was_given_up_is_not_counted_and_run_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = runner(tmp_path).open()

    def give_up(trial: int, fold: int, epoch: Epoch) -> None:
        if (trial, fold) == (0, 1):
            study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.FAIL)

    with scripted([CURVES[0], *CURVES]):
        runner(tmp_path, watch=give_up).run()
    first, again, _ = trials_of(tmp_path)
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert first.params == again.params
    assert "was given up by another worker" in caplog.text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"min_w": 0.4}, "min_w: 0.3 there, 0.4 here"),
        ({"max_epochs": 4}, "max_epochs: 3 there, 4 here"),
        ({"pins": {**PINS, "lr": 0.001}}, r"fixed: .*lr=0.005.* there, .*lr=0.001.* here"),
        ({"search_min_w": True}, "min_w: 0.3 there, 'searched' here"),
        (
            {"ranges": checked_ranges({"weight_decay": "1e-5:1e-4"}, EUOS25)},
            r"fixed: .* there, .*weight_decay=1e-05:0.0001.* here",
        ),
    ],
)
def test_joining_a_study_with_other_settings_is_refused_with_the_difference(
    tmp_path: Path, changes: dict[str, Any], shown: str
) -> None:
    runner(tmp_path).open()
    with pytest.raises(StudyError, match=shown) as caught:
        runner(tmp_path, **changes).open()
    assert "\n" not in str(caught.value)
    assert "use another --study_dir" in str(caught.value)


def test_joining_a_study_with_other_data_is_refused(tmp_path: Path) -> None:
    runner(tmp_path).open()
    with pytest.raises(StudyError, match=r"folds: '[0-9a-f]+' there, '[0-9a-f]+' here"):
        runner(tmp_path, small_cv(3)).open()


def test_a_changed_search_range_is_what_every_trial_is_drawn_from(tmp_path: Path) -> None:
    ranges = checked_ranges({"weight_decay": "1e-5:2e-5", "gamma_t0": "0.7,0.9"}, EUOS25)
    with scripted([level(0.5, 0.5, epochs=2)] * 4):
        runner(tmp_path, trials=4, ranges=ranges).run()
    trials = trials_of(tmp_path)
    assert all(1e-5 <= trial.params["weight_decay"] <= 2e-5 for trial in trials)
    assert all(trial.params["gamma_t0"] in (0.7, 0.9) for trial in trials)
    assert best_params(tmp_path)["gamma_t0"] in (0.7, 0.9)


def test_a_larger_budget_and_another_pruner_are_no_other_study(tmp_path: Path) -> None:
    runner(tmp_path).open()
    runner(tmp_path, trials=9, pruner=PrunerConfig("none")).open()


def failing(patch: pytest.MonkeyPatch, fails: Any) -> list[int]:
    """Trials whose number satisfies `fails` end in a StudyError; the others score 0.5. Gives the numbers asked."""
    asked: list[int] = []
    honest = MILCrossValidator.objective

    def objective(self: MILCrossValidator, trial: optuna.Trial) -> Any:
        asked.append(trial.number)
        if fails(trial.number):
            self.config_of(trial)  # its parameters are asked for, as they would be
            raise StudyError(f"fold 1, epoch {trial.number}", "parameter mixer became NaN or inf")
        return honest(self, trial)

    patch.setattr(MILCrossValidator, "objective", objective)
    return asked


def test_three_failing_trials_in_a_row_stop_the_study_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = failing(monkeypatch, lambda number: True)
    message = "3 trials in a row failed, the last one with: fold 1, epoch 2: parameter mixer became NaN or inf"
    with pytest.raises(StudyError, match=message):
        runner(tmp_path, trials=9).run()
    assert asked == [0, 1, 2]
    assert {trial.state for trial in trials_of(tmp_path)} == {TrialState.FAIL}


def test_failures_for_other_reasons_stop_it_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def objective(self: MILCrossValidator, trial: optuna.Trial) -> Any:
        asked.append(trial.number)
        raise StudyError("fold 1", "no positive" if trial.number % 2 else "became NaN")

    monkeypatch.setattr(MILCrossValidator, "objective", objective)
    with pytest.raises(StudyError, match="10 trials in a row failed, the last one with: fold 1: no positive"):
        runner(tmp_path, trials=20).run()
    assert len(asked) == 10


def test_a_failure_has_one_cause_wherever_it_comes_up() -> None:
    first = "fold 1, epoch 0: parameter mixer.blocks.3.weight became NaN or inf; lower lr, or check the features' range"
    other = "fold 0, epoch 12: parameter heads.fc became NaN or inf; lower lr, or check the features' range"
    assert cause(first) == cause(other)
    assert cause(first) != cause("fold 1, epoch 0: predictions or loss are NaN or inf, parameters are not; lower lr")


def test_two_failing_trials_in_a_row_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, lambda number: number % 3 != 2)
    with scripted([level(0.5, 0.5, epochs=2)] * 2):
        runner(tmp_path, trials=2).run()
    assert [trial.state for trial in trials_of(tmp_path)].count(TrialState.FAIL) == 4


def test_after_a_failed_trial_other_parameters_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, lambda number: number == 0)
    with scripted([level(0.5, 0.5, epochs=2)]):
        runner(tmp_path, trials=1).run()
    failed, complete = trials_of(tmp_path)
    assert failed.params
    assert failed.params != complete.params


def test_a_worker_that_was_killed_before_its_first_trial_leaves_no_lock(tmp_path: Path) -> None:
    with lease(tmp_path / "workers") as killed:
        pass
    (tmp_path / "workers" / f"{killed.name}.lock").touch()
    with scripted(CURVES):
        runner(tmp_path, trials=1).run()
    assert not list((tmp_path / "workers").glob("*.lock"))


def test_a_nan_fails_its_trial_and_not_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = MILTaskAttnMixerWithAux.loss, iter(range(1000))

    def loss(model: MILTaskAttnMixerWithAux, batch: BagBatch, *whole: Targets) -> LossTerms:
        terms = honest(model, batch, *whole)
        return dataclasses.replace(terms, total=terms.total * (torch.nan if next(calls) == 3 else 1))

    monkeypatch.setattr(MILTaskAttnMixerWithAux, "loss", loss)
    runner(tmp_path).run()
    failed, *others = trials_of(tmp_path)
    assert failed.state == TrialState.FAIL
    assert re.match(r"fold 2, epoch 1: parameter [\w.]+ became NaN", failed.user_attrs["failure"])
    assert [trial.state for trial in others] == [TrialState.COMPLETE, TrialState.COMPLETE]
    assert study_figures(tmp_path)[0] == {"FAIL": 1, "COMPLETE": 2}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("foo://bar", "cannot be opened"),
        ("nonsense", "cannot be opened"),
        ("sqlite:////no/such/folder/a.db", "unable to open database file"),
        ("sqlite://", "would forget the study"),
        ("postgresql://me:secret@localhost:1/x", "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_the_password(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        MILStudyRunner(MILCrossValidator(DATA, cv_run()), tmp_path, url).open()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_study_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("garbage " * 200)
    with pytest.raises(StudyError, match=r"study\.db: cannot be opened .*not a database.*; move it away"):
        runner(tmp_path).open()


def test_a_study_folder_with_a_question_mark_is_refused_not_written_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has a \? in its name"):
        runner(tmp_path / "what?").open()
    assert [path.name for path in tmp_path.iterdir()] == ["what?"]


def test_a_study_without_a_complete_trial_says_so(tmp_path: Path) -> None:
    study = runner(tmp_path).open()
    with pytest.raises(StudyError, match="no trial finished"):
        runner(tmp_path).write_artifacts(study)
    assert not (tmp_path / BEST_PARAMS).exists()
