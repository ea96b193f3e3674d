"""On a CUDA device the same run trains, repeats itself, and gives finite numbers in mixed precision."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from builders import make_bags, make_cv
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.tasks import EUOS25
from milbench.training.fold import FoldResult, MILFoldTrainer
from milbench.training.folds_module import FoldsModule
from milbench.training.module import MILModule
from milbench.training.resident import ResidentLoader
from milbench.training.together import FoldsTrainer
from runs import PINS, each_fold, same_weights

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def train(precision: str = "32-true", accelerator: str = "gpu", **runtime: bool) -> FoldResult:
    config = HPOConfig.from_params(PINS, EUOS25)
    settings = RuntimeConfig(accelerator=accelerator, precision=precision, **runtime)  # type: ignore[arg-type]
    return MILFoldTrainer(EUOS25, 4, 4).train(make_cv(make_bags(90)).fold(0), dataclasses.replace(config, runtime=settings))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_fold_trains_on_the_device_with_finite_numbers(precision: str) -> None:
    result = train(precision)
    assert result.epochs == 4
    assert np.isfinite(result.val_logits).all()
    assert all(np.isfinite(epoch.train_loss) for epoch in result.history)
    assert all(torch.isfinite(value).all() for value in result.model.state_dict().values())
    assert result.peak_memory_mb > 0


def test_the_same_run_on_the_device_twice_gives_the_same_weights() -> None:
    assert same_weights(train().model.state_dict(), train().model.state_dict())


def test_page_locked_batches_change_nothing() -> None:
    assert same_weights(train().model.state_dict(), train(pin_memory=True).model.state_dict())


def test_the_device_starts_from_the_same_model_as_the_processor() -> None:
    here, there = train(accelerator="cpu"), train()
    first = abs(here.history[0].train_loss - there.history[0].train_loss)
    assert first < 0.2 * here.history[0].train_loss  # dropout draws other numbers there


def at_once(precision: str = "32-true") -> list[FoldResult]:
    config = HPOConfig.from_params(PINS, EUOS25, runtime=RuntimeConfig(accelerator="gpu", precision=precision))
    return FoldsTrainer(MILFoldTrainer(EUOS25, 4, 2)).train(each_fold(make_cv(make_bags(90))), config)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_folds_together_train_on_the_device_and_repeat_themselves(precision: str) -> None:
    first, again = at_once(precision), at_once(precision)
    for a, b in zip(first, again, strict=True):
        assert np.isfinite(a.val_logits).all()
        assert same_weights(a.model.state_dict(), b.model.state_dict())


@pytest.mark.parametrize("owner", [MILModule, FoldsModule])
def test_a_step_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch, owner: type) -> None:
    for name in ("training_step", "validation_step"):
        honest = getattr(owner, name)

        def strict(self: Any, batch: Any, batch_idx: int, honest: Any = honest) -> None:
            torch.cuda.set_sync_debug_mode("error")
            try:
                honest(self, batch, batch_idx)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(owner, name, strict)
    if owner is MILModule:
        train()
    else:
        at_once()


def test_the_arrays_of_a_small_data_set_live_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.device] = []
    honest = ResidentLoader.__iter__

    def batches(self: ResidentLoader) -> Any:
        for batch in honest(self):
            seen.append(batch.xinst.device)
            yield batch

    monkeypatch.setattr(ResidentLoader, "__iter__", batches)
    train()
    assert seen
    assert {device.type for device in seen} == {"cuda"}
