"""Whole runs of the smallest model that is still the whole model, and what they left behind."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from builders import TINY, make_cv
from milbench.configs import HPOConfig
from milbench.data.cv import FoldData, MILCVData
from milbench.flags import flags_of
from milbench.metrics import Metrics
from milbench.run_config import ARTIFACT_PREFIX, FINAL_FOLDER, CVRunConfig, PipelineConfig
from milbench.tasks import TaskSet
from milbench.testing import SyntheticTables
from milbench.training.fold import Epoch, EpochHook, FoldResult

PINS: dict[str, Any] = {**TINY, "lr": 0.005, "batch_size": 32}
FIX = tuple(f"{name}={value}" for name, value in PINS.items())
BEST_PARAMS = f"{ARTIFACT_PREFIX}_best_params.json"
CHECKPOINT = Path(FINAL_FOLDER) / "best_model.ckpt"


def config_for(tables: SyntheticTables, study_dir: Path, **changes: Any) -> PipelineConfig:
    """A run on `tables`: two folds, two trials, three epochs."""
    paths = {"labels": tables.labels, "feat2d_scaled": tables.feat2d, "feat3d_scaled": tables.feat3d}
    settings = {"feat3d_qm_scaled": tables.feat3d_qm, "run_hpo": True, "trials": 2, "folds": 2, "max_epochs": 3, "fix": FIX}
    return PipelineConfig(study_dir=study_dir, **{**paths, **settings, "nn_accelerator": "cpu", **changes})


def arguments(config: PipelineConfig) -> list[str]:
    """The command line that means `config`."""
    return ["run", *flags_of(config)]


def cv_run(**changes: Any) -> CVRunConfig:
    """A study of the smallest model: two trials of three epochs."""
    return CVRunConfig(**{"max_epochs": 3, "trials": 2, "pins": PINS, **changes})


def trials_of(study_dir: Path) -> list[FrozenTrial]:
    """Every trial of a study."""
    storage = f"sqlite:///{study_dir / 'study.db'}"
    return optuna.load_study(study_name="milbench", storage=storage).get_trials(deepcopy=False)


def finished(study_dir: Path) -> list[tuple[TrialState, float | None, dict[str, Any]]]:
    """State, value and parameters of the finished trials, in order."""
    done = [trial for trial in trials_of(study_dir) if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return [(trial.state, trial.value, trial.params) for trial in done]


def best_params(study_dir: Path) -> dict[str, Any]:
    """The best parameters as recorded."""
    return json.loads((study_dir / BEST_PARAMS).read_text())


def weights(study_dir: Path) -> dict[str, torch.Tensor]:
    """The final model's weights."""
    return torch.load(study_dir / CHECKPOINT, weights_only=True)["state_dict"]


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


Curves = Sequence[Sequence[Sequence[float]]]
"""Scores by trial, fold, epoch."""


def flat_metrics(score: float, tasks: TaskSet) -> Metrics:
    """Metrics in which every task has this AP, so that it is the score, whatever min_w."""
    full = np.full(len(tasks), score)
    return Metrics(tasks.names, full, full, full, np.full(len(tasks), 10.0))


def level(*folds: float, epochs: int) -> list[list[float]]:
    """One trial that scores the same in all epochs of a fold."""
    return [[score] * epochs for score in folds]


@contextmanager
def scripted(curves: Curves) -> Iterator[None]:
    """Folds are not trained: trial after trial, fold after fold, the script says what each epoch scores."""
    script = iter([fold for trial in curves for fold in trial])
    folds = len(curves[0])

    class Scripted:
        def __init__(self, tasks: TaskSet, *_: object) -> None:
            self.tasks = tasks

        def identity(self, fold: FoldData, config: HPOConfig) -> dict[str, Any]:
            return config.to_params(self.tasks)

        def train(self, fold: FoldData, config: HPOConfig, hook: EpochHook, *_: object) -> FoldResult:
            if fold.number == 0:
                while len(rest) % folds:
                    rest.pop(0)  # what a pruned trial did not come to
            scores = rest.pop(0)
            for number, score in enumerate(scores):
                hook(Epoch(number, 0.5, flat_metrics(score, self.tasks)))
            best = int(np.argmax(scores))
            logits = np.zeros((len(fold.val), len(self.tasks)), np.float32)
            metrics = flat_metrics(scores[best], self.tasks)
            return FoldResult(None, metrics, logits, best, len(scores), 0.0, 0.0, ())  # type: ignore[arg-type]

    rest = list(script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("milbench.training.cross_validation.MILFoldTrainer", Scripted)
        yield


def each_fold(data: MILCVData) -> list[FoldData]:
    """All folds."""
    return [data.fold(k) for k in range(data.n_folds)]


def watch_steps(patch: pytest.MonkeyPatch, watch: Callable[[Any], None]) -> None:
    """Call `watch(module)` after every training step."""
    from milbench.training.module import MILModule

    honest = MILModule.training_step

    def step(self: MILModule, batch: Any, batch_idx: int) -> None:
        honest(self, batch, batch_idx)
        watch(self)

    patch.setattr(MILModule, "training_step", step)


def small_cv(n_folds: int = 3) -> MILCVData:
    """The small data set in folds."""
    return make_cv(n_folds=n_folds)
