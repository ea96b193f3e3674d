"""Folds trained together: each ends where it would alone, and what a study is told is their mean, epoch by epoch."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState

from builders import make_bags, make_cv
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.bags import BagBatch
from milbench.data.choice import first_conformers
from milbench.data.cv import FoldData, MILCVData
from milbench.errors import ConfigError, StudyError
from milbench.metrics import fold_score
from milbench.models import layers
from milbench.models.aggregators import MeanPool
from milbench.models.mil import LossTerms, MILTaskAttnMixerWithAux
from milbench.registry import AGGREGATORS
from milbench.run_config import CVRunConfig
from milbench.tasks import EUOS25
from milbench.training import together
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.evaluator import ModelEvaluator
from milbench.training.fold import FoldResult, MILFoldTrainer
from milbench.training.folds_loader import FoldsLoader, folds_loaders
from milbench.training.folds_module import FoldsModule
from milbench.training.study import MILStudyRunner
from milbench.training.together import FoldsTrainer, worth_it
from runs import PINS, cv_run, each_fold, same_weights, small_cv, trials_of

CPU = RuntimeConfig(accelerator="cpu")
PARAMS = {**PINS, "batch_size": 10, "accumulate_grad_batches": 2}
CONFIG = HPOConfig.from_params(PARAMS, EUOS25, runtime=CPU)
ALONE = MILFoldTrainer(EUOS25, 6, 2, 0.0)


def uneven() -> MILCVData:
    """Folds whose epochs have 9, 8 and 6 batches, with bags of none to five conformers."""
    bags = make_bags(110, sizes=np.random.default_rng(0).integers(0, 6, 110))
    return MILCVData(bags, np.repeat([0, 1, 2], [20, 35, 55]), EUOS25)


@pytest.fixture
def ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout masks of ones, the same for one fold and for many."""
    monkeypatch.setattr(layers, "keep_mask", lambda shape, p, device: torch.ones(shape, dtype=torch.int8))


def one_by_one(folds: Sequence[FoldData], config: HPOConfig = CONFIG) -> list[FoldResult]:
    return [ALONE.train(fold, config) for fold in folds]


def at_once(folds: Sequence[FoldData], config: HPOConfig = CONFIG, **options: Any) -> list[FoldResult]:
    return FoldsTrainer(ALONE).train(folds, config, **options)


def same_results(a: Sequence[FoldResult], b: Sequence[FoldResult]) -> bool:
    """Bit for bit."""
    pairs = list(zip(a, b, strict=True))
    weights = all(same_weights(x.model.state_dict(), y.model.state_dict()) for x, y in pairs)
    return weights and all(
        np.array_equal(x.val_logits, y.val_logits)
        and [e.train_loss for e in x.history] == [e.train_loss for e in y.history]
        and (x.epochs, x.best_epoch) == (y.epochs, y.best_epoch)
        for x, y in pairs
    )


@pytest.mark.usefixtures("ones")
@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_folds_of_unequal_length_that_stop_at_different_epochs_end_as_one_by_one(schedule: str) -> None:
    folds, config = each_fold(uneven()), HPOConfig.from_params({**PARAMS, "lr_schedule": schedule}, EUOS25, runtime=CPU)
    assert [len(fold.sampler(CONFIG)) for fold in folds] == [9, 8, 6]
    alone, both = one_by_one(folds, config), at_once(folds, config)
    assert len({result.epochs for result in alone}) > 1  # else no fold would have left
    for a, b in zip(alone, both, strict=True):
        assert (a.epochs, a.best_epoch) == (b.epochs, b.best_epoch)
        np.testing.assert_allclose([e.train_loss for e in b.history], [e.train_loss for e in a.history], rtol=1e-5)
        np.testing.assert_allclose([e.metrics.ap for e in b.history], [e.metrics.ap for e in a.history], atol=1e-6)
        np.testing.assert_allclose(b.val_logits, a.val_logits, rtol=1e-4, atol=1e-5)
        for name, value in a.model.state_dict().items():
            torch.testing.assert_close(b.model.state_dict()[name], value, rtol=1e-3, atol=2e-5)


def test_with_dropout_the_same_run_twice_gives_the_same_weights() -> None:
    folds = each_fold(uneven())
    first = at_once(folds)
    torch.rand(17)
    assert same_results(first, at_once(folds))


def test_the_seconds_are_shared_and_the_best_weights_are_those_of_the_best_epoch() -> None:
    folds = each_fold(uneven())
    results = at_once(folds)
    assert len({result.seconds for result in results}) == 1
    for fold, result in zip(folds, results, strict=True):
        assert result.metrics.macro_ap == max(epoch.metrics.macro_ap for epoch in result.history)
        again = ModelEvaluator(result.model, fold.scaled, EUOS25).evaluate(fold.val)
        np.testing.assert_allclose(again.ap, result.metrics.ap, atol=1e-12)


class Stopped(Exception):
    """Power is cut."""


@pytest.mark.parametrize("place", [(0, 3), (1, 0), (3, 5), (4, 2)])
def test_interrupted_anywhere_and_gone_on_they_end_as_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[int, int]
) -> None:
    folds = each_fold(uneven())
    whole = at_once(folds)
    assert max(result.epochs for result in whole) > place[0]
    honest = FoldsModule.training_step

    def step(self: FoldsModule, batch: BagBatch, batch_idx: int) -> None:
        if (self.current_epoch, batch_idx) == place:
            raise Stopped
        honest(self, batch, batch_idx)

    path = tmp_path / "folds.ckpt"
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(FoldsModule, "training_step", step)
        at_once(folds, checkpoint=path)
    seen: list[int] = []
    gone_on = at_once(folds, checkpoint=path, hook=lambda number, epochs: seen.append(number))
    assert same_results(whole, gone_on)
    assert seen == list(range(max(result.epochs for result in whole)))
    assert same_results(whole, at_once(folds, checkpoint=path))  # done: taken from the file


def test_a_checkpoint_of_other_folds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.ckpt"
    at_once(each_fold(uneven()), checkpoint=path)
    with pytest.raises(StudyError, match=r"another training \(molecules: "):
        at_once(each_fold(make_cv(uneven().bags)), checkpoint=path)


def test_a_fold_that_becomes_nan_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = FoldsModule.training_step, iter(range(1000))

    def step(self: FoldsModule, batch: BagBatch, batch_idx: int) -> None:
        honest(self, batch, batch_idx)
        if next(calls) == 10:
            with torch.no_grad():
                self.model_of(1).get_parameter("proj2d.0.weight").fill_(torch.nan)

    monkeypatch.setattr(FoldsModule, "training_step", step)
    with pytest.raises(StudyError, match=r"fold 2, epoch 2: parameter [\w.]+ became NaN or inf; lower lr"):
        at_once(each_fold(uneven()))


def test_bfloat16_is_near_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = each_fold(uneven())
    runtime = dataclasses.replace(CPU, precision="bf16-mixed")
    exact, rough = at_once(folds), at_once(folds, dataclasses.replace(CONFIG, runtime=runtime))
    for a, b in zip(exact, rough, strict=True):
        assert all(value.dtype == torch.float32 for value in b.model.parameters())
        assert b.history[0].train_loss == pytest.approx(a.history[0].train_loss, rel=0.02)


def test_arrays_on_the_device_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = each_fold(uneven())
    plain = at_once(folds)
    monkeypatch.setattr("milbench.training.folds_loader.fits", lambda *_: True)
    assert same_results(plain, at_once(folds))


def test_a_loader_gives_every_fold_its_own_batches_and_only_the_live_ones() -> None:
    folds = each_fold(uneven())
    train, val = folds_loaders(folds, CONFIG, torch.device("cpu"))
    for loader, draws in ((train, [list(fold.sampler(CONFIG)) for fold in folds]), (val, [list(p.sampler) for p in val.parts])):
        loader.live = [0, 2]
        batches = list(loader)
        assert len(batches) == len(loader)
        for i, batch in enumerate(batches):
            assert batch.x2d.shape[0] == 2
            for place, k in enumerate((0, 2)):
                assert torch.equal(batch.index[place], draws[k][min(i, len(draws[k]) - 1)])
    seen = torch.cat([batch.index for batch in val], dim=1)
    assert all(torch.equal(seen[place][: len(folds[k].val)], torch.from_numpy(folds[k].val)) for place, k in enumerate((0, 2)))
    assert isinstance(train, FoldsLoader)


def cross_validator(together: bool = True, **changes: Any) -> MILCrossValidator:
    return MILCrossValidator(
        uneven(), cv_run(**{"pins": PARAMS, "runtime": CPU, "max_epochs": 6, "patience": 2, **changes}), together=together
    )


def test_a_trial_is_told_the_mean_of_the_folds_once_an_epoch_and_a_stopped_fold_counts_with_its_score() -> None:
    watched: list[tuple[int, int, int]] = []
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    validator = dataclasses.replace(cross_validator(), watch=lambda trial, k, epoch: watched.append((trial, k, epoch.number)))
    result = validator.evaluate(CONFIG, trial)
    lasting = max(fold.epochs for fold in result.folds)
    told = study.trials[0].intermediate_values
    assert list(told) == list(range(lasting))

    def score(fold: FoldResult, number: int) -> float:
        epoch = fold.history[number] if number < fold.epochs else fold.history[fold.best_epoch]
        return fold_score(epoch.metrics, 0.3)

    for number, value in told.items():
        assert value == pytest.approx(np.mean([score(fold, number) for fold in result.folds]))
    assert sorted(watched) == [(0, k, n) for k, fold in enumerate(result.folds) for n in range(fold.epochs)]
    attributes = study.trials[0].user_attrs
    for k, fold in enumerate(result.folds):
        assert attributes[f"fold_{k}_score"] == fold.score(0.3)
        assert attributes[f"fold_{k}_epochs"] == fold.epochs


def test_a_trial_is_pruned_by_the_mean() -> None:
    class Never(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.last_step == 1

    study = optuna.create_study(direction="maximize", pruner=Never())
    with pytest.raises(optuna.TrialPruned, match="epoch 2: among the worst so far"):
        cross_validator().evaluate(CONFIG, study.ask())
    assert list(study.trials[0].intermediate_values) == [0, 1]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for one fold, not for three."""
    honest, calls = FoldsModule.training_step, iter(range(1000))

    def step(self: FoldsModule, batch: BagBatch, batch_idx: int) -> None:
        if next(calls) == 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        honest(self, batch, batch_idx)

    monkeypatch.setattr(FoldsModule, "training_step", step)


@pytest.mark.usefixtures("short", "ones")
def test_without_memory_for_all_they_are_trained_one_by_one_which_is_said_once_and_told_alike(
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = optuna.create_study(direction="maximize")
    with caplog.at_level(logging.WARNING, "milbench"):
        result = cross_validator().evaluate(CONFIG, study.ask())
    said = [record.message for record in caplog.records if "together" in record.message]
    assert said == ["trial 0: folds are trained one after the other, not together: out of memory"]
    assert same_results(result.folds, one_by_one(each_fold(uneven())))
    told = study.trials[0].intermediate_values
    assert list(told) == list(range(max(fold.epochs for fold in result.folds)))
    first = [fold_score(fold.history[0].metrics, 0.3) for fold in result.folds]
    assert told[0] == pytest.approx(np.mean(first), abs=1e-5)


class Mine(MeanPool):
    """A part of a user's own."""


def test_folds_with_a_part_of_ones_own_are_trained_one_by_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(AGGREGATORS._builders, "mine", Mine)
    config = dataclasses.replace(CONFIG, backbone=dataclasses.replace(CONFIG.backbone, aggregator_name="mine"))
    with caplog.at_level(logging.WARNING, "milbench"):
        assert len(cross_validator().evaluate(config).folds) == 3
    assert "not together: Mine is a part of your own" in caplog.text


def test_other_errors_are_nobodys_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> LossTerms:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(MILTaskAttnMixerWithAux, "loss", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        cross_validator().evaluate(CONFIG)


def runner(folder: Path, choice: str, **changes: Any) -> MILStudyRunner:
    run = cv_run(**{"runtime": CPU, "parallel_folds": choice, **changes})
    return MILStudyRunner(MILCrossValidator(small_cv(), run), folder)


def test_a_study_of_folds_together_finishes_with_all_its_artifacts(tmp_path: Path) -> None:
    runner(tmp_path, "on").run()
    trials = trials_of(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert all(max(trial.intermediate_values) < 3 for trial in trials)  # steps are epochs
    oof = pd.read_parquet(tmp_path / "oof.parquet")
    assert len(oof) == len(small_cv().bags)
    assert not (tmp_path / "trials_work").exists()


def test_a_study_is_not_mixed_silently_and_auto_does_as_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    for name, owner in (("together", FoldsTrainer), ("alone", MILFoldTrainer)):
        honest = owner.train

        def train(self: Any, *args: Any, name: str = name, honest: Any = honest, **options: Any) -> Any:
            trained.append(name)
            return honest(self, *args, **options)

        monkeypatch.setattr(owner, "train", train)
    runner(tmp_path, "on", trials=1).run()
    with pytest.raises(StudyError, match="parallel_folds: 'on' there, 'off' here"):
        runner(tmp_path, "off").run()
    runner(tmp_path, "auto").run()
    assert trained == ["together", "together"]


def test_a_study_from_before_there_was_a_choice_goes_on_one_by_one(tmp_path: Path) -> None:
    study = runner(tmp_path, "off", trials=1).run()
    settings = study.user_attrs["settings"]
    study.set_user_attr("settings", {name: value for name, value in settings.items() if name != "parallel_folds"})
    with pytest.raises(StudyError, match="parallel_folds: 'off' there, 'on' here"):
        runner(tmp_path, "on").run()
    runner(tmp_path, "auto").run()
    assert max(trials_of(tmp_path)[1].intermediate_values) >= 3  # the steps of folds one by one


def test_an_interrupted_study_goes_on_where_its_folds_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = runner(tmp_path / "whole", "on").run()
    honest, steps = FoldsModule.training_step, []

    def stopping(self: FoldsModule, batch: BagBatch, batch_idx: int) -> None:
        steps.append(self.current_epoch)
        if len(steps) == 5:
            raise KeyboardInterrupt
        honest(self, batch, batch_idx)

    monkeypatch.setattr(MILFoldTrainer.__init__, "__defaults__", (0.0,))  # checkpoints at every step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FoldsModule, "training_step", stopping)
        runner(tmp_path / "parts", "on").run()
    assert list((tmp_path / "parts").glob("trials_work/*/folds.ckpt"))
    gone_on = runner(tmp_path / "parts", "on").run()
    complete = [[t.value for t in s.trials if t.state == TrialState.COMPLETE] for s in (whole, gone_on)]
    assert complete[0] == complete[1]


@pytest.mark.parametrize(
    ("choice", "cuda", "runtime", "expected"),
    [
        ("auto", False, {}, False),
        ("auto", True, {}, True),
        ("auto", True, {"accelerator": "gpu", "precision": "bf16-mixed"}, True),
        ("auto", True, {"accelerator": "cpu"}, False),
        ("auto", True, {"precision": "16-mixed"}, False),
        ("on", False, {"accelerator": "cpu"}, True),
        ("off", True, {}, False),
    ],
)
def test_auto_means_together_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, choice: str, cuda: bool, runtime: dict[str, Any], expected: bool
) -> None:
    monkeypatch.setattr(together.torch.cuda, "is_available", lambda: cuda)
    assert worth_it(choice, RuntimeConfig(**runtime)) is expected


def test_sixteen_bit_floats_and_folds_together_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match="--parallel_folds: cannot be on with 16-bit floats"):
        CVRunConfig(parallel_folds="on", runtime=RuntimeConfig(precision="16-mixed"))


@pytest.mark.parametrize("aggregator", ["task_attention_pool", "mean_pool", "max_pool", "gated_attention"])
def test_folds_without_any_conformer_train_together_and_alone_to_the_same(ones: None, aggregator: str) -> None:
    data = make_cv(first_conformers(make_bags(60), 0))
    config = HPOConfig.from_params({**PARAMS, "aggregator_name": aggregator}, EUOS25, runtime=CPU)
    alone, together = one_by_one(each_fold(data), config), at_once(each_fold(data), config)
    for one, other in zip(alone, together, strict=True):
        assert one.metrics.macro_ap == pytest.approx(other.metrics.macro_ap, abs=1e-3)
        np.testing.assert_allclose(one.val_logits, other.val_logits, atol=1e-3)
