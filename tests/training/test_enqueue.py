"""`--enqueue`: given parameters run first, once, and are refused where the study cannot run them as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from milbench.errors import MilbenchError
from milbench.files import write_json
from milbench.tasks import EUOS25
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.enqueue import enqueue, wanted
from milbench.training.study import MILStudyRunner
from runs import cv_run, level, scripted, small_cv, trials_of

DATA = small_cv(2)


@pytest.fixture(autouse=True)
def optuna_as_before() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def written(folder: Path, content: Any) -> Path:
    write_json(folder / "params.json", content)
    return folder / "params.json"


def test_enqueued_parameters_run_first_and_once_and_the_rest_is_searched(tmp_path: Path) -> None:
    path = written(tmp_path, [{"mol_dropout": 0.12}, {"mol_dropout": 0.2, "weight_decay": 0.0002, "best_trial": 3}])
    runner = MILStudyRunner(MILCrossValidator(DATA, cv_run(trials=3)), tmp_path / "s")
    assert [enqueue(runner.open(), path, EUOS25, cv_run()) for _ in range(2)] == [2, 0]
    with scripted([level(0.5, 0.5, epochs=2)] * 3):
        runner.run()
    first, second, third = trials_of(tmp_path / "s")
    assert first.params["mol_dropout"] == 0.12
    assert (second.params["mol_dropout"], second.params["weight_decay"]) == (0.2, 0.0002)
    assert third.params["mol_dropout"] not in {0.12, 0.2}
    assert first.params.keys() == second.params.keys() == third.params.keys()
    assert enqueue(runner.open(), path, EUOS25, cv_run()) == 0


def test_the_best_parameters_of_a_study_can_be_enqueued_in_one_of_the_same_settings(tmp_path: Path) -> None:
    with scripted([level(0.5, 0.5, epochs=2)]):
        runner = MILStudyRunner(MILCrossValidator(DATA, cv_run(trials=1)), tmp_path / "s")
        study = runner.run()
    best = tmp_path / "s" / "multimodal_mil_aux_gpu_best_params.json"
    assert wanted(best, EUOS25, cv_run()) == [study.best_params]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mol_dropot": 0.1}, "unknown parameter, got 'mol_dropot'"),
        ([{"mol_dropout": 0.1}, {"mol_dropout": 0.9}], r"params.json, entry 2: mol_dropout is out(side| of).*got 0.9"),
        ({"batch_size": 256}, "batch_size is not searched by this study, which uses 32, got 256"),
        ({"min_w": 0.5}, "min_w is not searched by this study, which uses 0.3, got 0.5"),
        ([], "holds no parameters"),
        ([3], "holds no parameters"),
    ],
)
def test_parameters_that_the_study_cannot_run_as_they_are_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(MilbenchError, match=message):
        wanted(written(tmp_path, content), EUOS25, cv_run())
