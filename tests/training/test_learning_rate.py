"""The learning rate over the steps: it follows from how far the training is, for one fold alone and for folds together."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import tiny_config
from milbench.tasks import EUOS25
from milbench.training.fold import MILFoldTrainer
from milbench.training.schedule import set_learning_rate
from milbench.training.together import FoldsTrainer
from runs import each_fold, small_cv

LR, BETAS = 0.004, (0.9, 0.999)


def given_to(schedule: str, done: float, epochs: int | None) -> dict[str, Any]:
    group: dict[str, Any] = {"lr": 1.0, "betas": BETAS}
    set_learning_rate(group, tiny_config(lr=LR, lr_schedule=schedule).optimization, done, epochs)
    return group


def rate(schedule: str, done: float, epochs: int | None) -> float:
    return given_to(schedule, done, epochs)["lr"]


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_a_cosine_starts_at_lr_only_falls_and_ends_at_zero(epochs: int, one: float, other: float) -> None:
    now, later = (rate("cosine", share * epochs, epochs) for share in sorted((one, other)))
    assert LR >= now >= later >= 0
    assert (rate("cosine", 0, epochs), rate("cosine", epochs, epochs)) == (LR, 0)
    half = rate("cosine", epochs * (1 - one), epochs) + rate("cosine", epochs * one, epochs)
    assert half == pytest.approx(LR)  # as much above the middle as it is below it at the other end


@pytest.mark.parametrize(("epochs", "steps"), [(3, 40), (10, 7)])
def test_one_cycle_is_the_one_of_torch(epochs: int, steps: int) -> None:
    model = torch.nn.Linear(1, 1)
    theirs = torch.optim.AdamW(model.parameters(), lr=LR)
    total = epochs * steps + 1  # torch's last step is the end itself
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, LR, total_steps=total, pct_start=0.15, final_div_factor=1e12)
    with pytest.warns(UserWarning, match="optimizer.step"):
        schedule.step()
    for step in range(1, total - 1):
        ours = given_to("onecycle", step / steps, epochs)
        tolerance = 2 / total  # torch rounds the warm-up to whole steps
        assert ours["lr"] == pytest.approx(theirs.param_groups[0]["lr"], abs=10 * tolerance * LR)
        assert ours["betas"] == pytest.approx(theirs.param_groups[0]["betas"], abs=tolerance)
        theirs.step()
        schedule.step()


@given(st.floats(0, 200), st.one_of(st.none(), st.integers(1, 200)))
def test_a_constant_rate_is_lr_at_every_step(done: float, epochs: int | None) -> None:
    assert given_to("constant", done, epochs) == {"lr": LR, "betas": BETAS}


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
    assert len(taken) % 3 == 0
    assert len(taken) > 3
    assert taken == pytest.approx([LR * (1 + math.cos(math.pi * i / len(taken))) / 2 for i in range(len(taken))])
