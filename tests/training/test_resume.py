"""A training that was interrupted goes on as if it had not been: weights, optimizer, metrics, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import TINY, make_bags, make_cv
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.tasks import EUOS25
from milbench.training.fold import FoldResult, MILFoldTrainer
from milbench.training.module import MILModule
from runs import same_weights

EPOCHS, BATCHES = 4, 5


def config(accumulate: int = 1, workers: int = 0, **params: Any) -> HPOConfig:
    runtime = RuntimeConfig(accelerator="cpu", num_workers=workers)
    return HPOConfig.from_params(
        {**TINY, "lr": 0.005, "accumulate_grad_batches": accumulate, **params}, EUOS25, runtime=runtime
    )


FOLD = make_cv(make_bags(110)).fold(1)


def trainer(epochs: int = EPOCHS, patience: int = 20, every_s: float = 0.0) -> MILFoldTrainer:
    return MILFoldTrainer(EUOS25, epochs, patience, every_s)


class Killed(Exception):
    pass


def killed_at(patch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
    """The training ends before this batch, as if its process had been killed there."""
    honest = MILModule.training_step

    def step(self: MILModule, given: Any, batch_idx: int) -> None:
        if (self.current_epoch, batch_idx) == (epoch, batch):
            raise Killed
        honest(self, given, batch_idx)

    patch.setattr(MILModule, "training_step", step)


def watched(patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every (epoch, batch) that is trained from now on."""
    seen: list[tuple[int, int]] = []
    honest = MILModule.training_step

    def step(self: MILModule, given: Any, batch_idx: int) -> None:
        seen.append((self.current_epoch, batch_idx))
        honest(self, given, batch_idx)

    patch.setattr(MILModule, "training_step", step)
    return seen


def same_result(a: FoldResult, b: FoldResult) -> None:
    """Bit for bit, but for time and memory."""
    assert same_weights(a.model.state_dict(), b.model.state_dict())
    assert a.val_logits.tobytes() == b.val_logits.tobytes()
    assert (a.best_epoch, a.epochs, a.halved) == (b.best_epoch, b.epochs, b.halved)
    assert [epoch.number for epoch in a.history] == [epoch.number for epoch in b.history]
    assert [epoch.train_loss for epoch in a.history] == [epoch.train_loss for epoch in b.history]
    for one, other in zip(a.history, b.history, strict=True):
        for name in ("ap", "auc", "prevalence", "n_known"):
            np.testing.assert_array_equal(getattr(one.metrics, name), getattr(other.metrics, name))


def interrupted(path: Path, epoch: int, batch: int, cfg: HPOConfig, **options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, epoch, batch)
        with pytest.raises(Killed):
            trainer(**options).train(FOLD, cfg, checkpoint=path)


PLACES = [(epoch, batch) for epoch in range(EPOCHS) for batch in range(BATCHES)]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 3), (1, 0), (2, 1), (2, 4), (3, 4)])
def test_a_training_killed_anywhere_and_resumed_is_the_uninterrupted_one(
    tmp_path: Path, accumulate: int, epoch: int, batch: int
) -> None:
    cfg, path = config(accumulate), tmp_path / "fold_1.ckpt"
    interrupted(path, epoch, batch, cfg)
    same_result(trainer().train(FOLD, cfg, checkpoint=path), trainer().train(FOLD, cfg))
