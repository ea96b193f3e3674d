"""One fold trained: its best epoch is what counts, and the same run gives the same weights."""

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from builders import make_bags, make_cv, tiny_config
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.assemble import load_tables
from milbench.data.bags import BagBatch
from milbench.data.cv import FoldData, MILCVData
from milbench.data.folds import stratified_folds
from milbench.data.targets import Targets
from milbench.errors import StudyError
from milbench.metrics import evaluate
from milbench.models.mil import LossTerms, MILTaskAttnMixerWithAux
from milbench.tasks import EUOS25
from milbench.testing import make_tables
from milbench.training.evaluator import ModelEvaluator
from milbench.training.fold import Epoch, FoldResult, MILFoldTrainer, probabilities
from milbench.training.trainer import interruptible
from runs import PINS, each_fold, same_weights, watch_steps

CONFIG = HPOConfig.from_params(PINS, EUOS25, runtime=RuntimeConfig(accelerator="cpu"))


def train(fold: FoldData, config: HPOConfig = CONFIG, epochs: int = 4, patience: int = 20, **options: Any) -> FoldResult:
    return MILFoldTrainer(EUOS25, epochs, patience).train(fold, config, **options)


def test_the_folds_result_is_its_best_epoch_with_that_epochs_weights() -> None:
    fold = make_cv(make_bags(90)).fold(0)
    result = train(fold, epochs=8)
    scores = [epoch.metrics.macro_ap for epoch in result.history]
    assert result.best_epoch == int(np.argmax(scores)) < len(scores) - 1  # else the last weights would pass too
    again = ModelEvaluator(result.model, fold.scaled, EUOS25).evaluate(fold.val)
    np.testing.assert_allclose(again.ap, result.metrics.ap, atol=1e-12)
    np.testing.assert_allclose(again.auc, result.metrics.auc, atol=1e-12)
    assert result.metrics.macro_ap == max(scores)
    assert result.score(0.3) == pytest.approx(0.7 * result.metrics.macro_ap + 0.3 * result.metrics.min_ap)


def test_a_fold_stops_when_patience_is_over() -> None:
    result = train(make_cv(make_bags(90)).fold(0), epochs=60, patience=3)
    assert result.epochs == result.best_epoch + 1 + 3


def test_the_logits_kept_are_those_of_the_best_epoch() -> None:
    fold = make_cv(make_bags(90)).fold(1)
    result = train(fold, epochs=6)
    predicted = ModelEvaluator(result.model, fold.scaled, EUOS25).predict(fold.val).probability
    np.testing.assert_allclose(predicted, probabilities(result.val_logits), atol=1e-6)


def test_the_same_fold_trained_twice_gives_the_same_weights() -> None:
    first = train(make_cv().fold(0)).model.state_dict()
    torch.manual_seed(123)
    torch.rand(17)
    assert same_weights(first, train(make_cv().fold(0)).model.state_dict())


def test_what_was_trained_before_changes_nothing() -> None:
    forwards = [train(fold).model.state_dict() for fold in each_fold(make_cv())]
    backwards = [train(fold).model.state_dict() for fold in reversed(each_fold(make_cv()))]
    assert all(same_weights(a, b) for a, b in zip(forwards, reversed(backwards)))
    assert not same_weights(forwards[0], forwards[1])


def test_another_seed_gives_other_weights() -> None:
    other = dataclasses.replace(CONFIG, runtime=RuntimeConfig(accelerator="cpu", seed=1))
    fold = make_cv().fold(0)
    assert not same_weights(train(fold, epochs=1).model.state_dict(), train(fold, other, epochs=1).model.state_dict())


def test_worker_processes_change_nothing() -> None:
    with_workers = dataclasses.replace(CONFIG, runtime=RuntimeConfig(accelerator="cpu", num_workers=1))
    fold = make_cv().fold(0)
    here, there = train(fold, epochs=2), train(fold, with_workers, epochs=2)
    assert same_weights(here.model.state_dict(), there.model.state_dict())


def test_dropout_is_on_in_every_training_step_and_off_in_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[tuple[int, bool]] = []

    def watch(module: Any) -> None:
        modes.append((module.current_epoch, all(part.training for part in module.model.modules())))

    watch_steps(monkeypatch, watch)
    fold = make_cv().fold(0)
    result = train(fold, epochs=3)
    assert {epoch for epoch, _ in modes} == {0, 1, 2}  # after a validation too
    assert all(training for _, training in modes)
    batch = fold.batch(torch.from_numpy(fold.train), fold.targets(CONFIG.loss))
    model = result.model.train()
    assert model.loss(batch).total != model.loss(batch).total
    model.eval()
    assert model.loss(batch).total == model.loss(batch).total


def test_dropout_differs_from_batch_to_batch_and_fold_to_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def watch(module: Any) -> None:
        seeds.append(torch.initial_seed())  # what the step's dropout was drawn from

    watch_steps(monkeypatch, watch)
    for fold in each_fold(make_cv()):
        train(fold, epochs=3)
    assert len(set(seeds)) == len(seeds) > 9


def test_the_hook_sees_every_epoch_and_may_stop_the_training() -> None:
    class Enough(Exception):
        pass

    seen: list[int] = []

    def hook(epoch: Epoch) -> None:
        seen.append(epoch.number)
        if epoch.number == 2:
            raise Enough

    with pytest.raises(Enough):
        train(make_cv().fold(0), epochs=6, hook=hook)
    assert seen == [0, 1, 2]


def spoil_loss(patch: pytest.MonkeyPatch, spoil: Callable[[Tensor], Tensor]) -> None:
    honest = MILTaskAttnMixerWithAux.loss

    def spoiled(model: MILTaskAttnMixerWithAux, batch: BagBatch, *whole: Targets) -> LossTerms:
        terms = honest(model, batch, *whole)
        return dataclasses.replace(terms, total=spoil(terms.total))

    patch.setattr(MILTaskAttnMixerWithAux, "loss", spoiled)


def test_a_parameter_that_becomes_nan_is_named_with_fold_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter(range(100))
    spoil_loss(monkeypatch, lambda loss: loss * (torch.nan if next(steps) == 2 else 1))  # two steps an epoch
    with pytest.raises(StudyError, match=r"fold 3, epoch 2: parameter [\w.]+ became NaN or inf; lower lr"):
        train(make_cv().fold(2))


def test_a_loss_that_becomes_nan_is_an_error_even_where_the_parameters_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_loss(monkeypatch, lambda loss: loss + torch.nan)  # its gradient is not NaN
    with pytest.raises(StudyError, match="fold 1, epoch 1: predictions or loss are NaN or inf, parameters are not"):
        train(make_cv().fold(0))


def test_features_that_overflow_are_a_finding_not_a_crash() -> None:
    data = make_cv(prescaled=True)
    data.bags.xinst[:] *= 1e37
    with pytest.raises(StudyError, match="fold 1, epoch 1: parameter"):
        train(data.fold(0))


def test_ctrl_c_stays_ctrl_c_and_the_next_one_is_heard_too() -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupted(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_cv().fold(0), hook=interrupted)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise SystemExit(1)


def learning_data(folder: Path, permuted: bool) -> MILCVData:
    """Tables that can be learned, in two folds, whose training labels mean something or (permuted) nothing."""
    tables = make_tables(folder, 240, leaderboard=0.0)
    bags = load_tables(tables.labels, tables.feat2d, tables.instances, EUOS25)
    folds = stratified_folds(bags.raw.y, 2)
    if permuted:
        order = np.random.default_rng(5).permutation(len(bags))
        bags.raw.y[:], folds = bags.raw.y[order], folds[order]
    return MILCVData(bags, folds, EUOS25)


def last_epochs(data: MILCVData) -> np.ndarray:
    """AP of each task after the last epoch, mean over folds: chosen by no look at the validation labels."""
    wider = {**PINS, "mol_hidden": 16, "inst_hidden": 16, "mixer_hidden": 16, "proj_dim": 16}
    config = HPOConfig.from_params(wider, EUOS25, runtime=RuntimeConfig(accelerator="cpu"))
    return np.mean([train(fold, config, epochs=12).history[-1].metrics.ap for fold in each_fold(data)], axis=0)


def chance(data: MILCVData, draws: int = 40) -> np.ndarray:
    """Macro AP of random scores on the same folds, mean over folds: draws of it."""
    rng = np.random.default_rng(0)
    raw = data.bags.raw

    def draw() -> float:
        folds = [evaluate(raw.y[f.val], rng.random((len(f.val), 4)), raw.w[f.val], EUOS25).macro_ap for f in each_fold(data)]
        return float(np.mean(folds))

    return np.array([draw() for _ in range(draws)])


def test_permuted_labels_give_chance_and_real_ones_far_more(tmp_path: Path) -> None:
    real, permuted = learning_data(tmp_path, False), learning_data(tmp_path, True)
    by_chance = chance(permuted)
    low, high = by_chance.mean() - 4 * by_chance.std(), by_chance.mean() + 4 * by_chance.std()
    assert low < last_epochs(permuted).mean() < high
    learned = last_epochs(real)
    assert learned.mean() > high + 0.1
    assert (learned > 1.5 * real.bags.raw.y.mean(axis=0)).all()


def test_a_configuration_of_other_tasks_trains_too() -> None:
    data = make_cv(make_bags(n_tasks=2, n_abs=0, n_fluo=1))
    config = tiny_config(data.tasks)
    result = MILFoldTrainer(data.tasks, 2, 2).train(data.fold(0), config)
    assert result.val_logits.shape == (len(data.fold(0).val), 2)
