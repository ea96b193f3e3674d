"""The learning rate over the epochs: it follows from the epoch's number, for one fold alone and for folds together."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import tiny_config
from milbench.tasks import EUOS25
from milbench.training.fold import MILFoldTrainer
from milbench.training.module import set_learning_rate
from milbench.training.together import FoldsTrainer
from runs import each_fold, small_cv

LR = 0.004


def rates(schedule: str, epoch: int, epochs: int | None) -> list[float]:
    optimizer = SimpleNamespace(param_groups=[{"lr": 1.0}, {"lr": 2.0}])
    set_learning_rate(optimizer, tiny_config(lr=LR, lr_schedule=schedule), epoch, epochs)
    return [group["lr"] for group in optimizer.param_groups]


@given(st.integers(1, 200), st.data())
def test_a_cosine_starts_at_lr_only_falls_and_ends_above_zero(epochs: int, data: st.DataObject) -> None:
    epoch = data.draw(st.integers(0, epochs - 1))
    now, later = rates("cosine", epoch, epochs), rates("cosine", epoch + 1, epochs)
    assert now[0] == now[1]
    assert rates("cosine", 0, epochs)[0] == pytest.approx(LR)
    assert LR >= now[0] > later[0] >= 0
    half = rates("cosine", epochs - epoch, epochs)[0] + now[0]
    assert half == pytest.approx(LR)  # as much above the middle as it is below it at the other end


@given(st.integers(0, 200), st.one_of(st.none(), st.integers(1, 200)))
def test_a_constant_rate_is_lr_in_every_epoch(epoch: int, epochs: int | None) -> None:
    assert rates("constant", epoch, epochs) == [LR, LR]


@pytest.mark.parametrize("together", [False, True])
def test_every_step_of_an_epoch_is_taken_at_its_rate(together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []
    honest = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any, **options: Any) -> Any:
        taken.append(self.param_groups[0]["lr"])
        return honest(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    config, folds = tiny_config(lr=LR, lr_schedule="cosine"), each_fold(small_cv())
    alone = MILFoldTrainer(EUOS25, 3, 20)
    if together:
        FoldsTrainer(alone).train(folds, config)
    else:
        alone.train(folds[0], config)
    steps = len(taken) // 3
    assert steps > 1
    assert taken == pytest.approx([LR] * steps + [LR * 0.75] * steps + [LR * 0.25] * steps)
