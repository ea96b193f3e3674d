"""A training that was interrupted goes on as if it had not been: weights, optimizer, metrics, bit for bit."""

import dataclasses
import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import TINY, make_bags, make_cv
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.errors import DataError, StudyError
from milbench.files import read_tensors, write_tensors
from milbench.stopping import Interrupted
from milbench.tasks import EUOS25
from milbench.training.fold import Epoch, FoldResult, MILFoldTrainer
from milbench.training.module import MILModule
from runs import same_weights

EPOCHS, BATCHES = 4, 5


def config(accumulate: int = 1, workers: int = 0, **params: Any) -> HPOConfig:
    runtime = RuntimeConfig(accelerator="cpu", num_workers=workers)
    base = {**TINY, "lr": 0.005, "lr_schedule": "cosine", "mol_input_dropout": 0.2, "accumulate_grad_batches": accumulate}
    return HPOConfig.from_params({**base, **params}, EUOS25, runtime=runtime)


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


@pytest.mark.slow
@settings(max_examples=12)
@given(
    place=st.sampled_from(PLACES), accumulate=st.integers(1, 4), every=st.sampled_from([0.0, 1e9]), patience=st.integers(1, 3)
)
def test_whatever_place_accumulation_and_patience_it_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[int, int], accumulate: int, every: float, patience: int
) -> None:
    cfg, path = config(accumulate), tmp_path_factory.mktemp("resume") / "fold_1.ckpt"
    whole = trainer(patience=patience).train(FOLD, cfg)
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, *place)
        try:
            trainer(patience=patience, every_s=every).train(FOLD, cfg, checkpoint=path)
        except Killed:
            assert path.exists() == (every == 0.0 and (place[0], place[1] // accumulate) > (0, 0))
    same_result(trainer(patience=patience).train(FOLD, cfg, checkpoint=path), whole)


def test_a_training_killed_again_and_again_still_ends_the_same(tmp_path: Path) -> None:
    cfg, path = config(2), tmp_path / "fold_1.ckpt"
    for epoch, batch in ((0, 3), (1, 1), (1, 4), (3, 0)):
        interrupted(path, epoch, batch, cfg)
    same_result(trainer().train(FOLD, cfg, checkpoint=path), trainer().train(FOLD, cfg))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_with_worker_processes_too(tmp_path: Path) -> None:
    path = tmp_path / "fold_1.ckpt"
    interrupted(path, 2, 3, config(workers=1))
    same_result(trainer().train(FOLD, config(workers=1), checkpoint=path), trainer().train(FOLD, config()))


def test_what_was_trained_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fold_1.ckpt"
    interrupted(path, 2, 3, config())
    seen, epochs = watched(monkeypatch), list[Epoch]()
    first = trainer().train(FOLD, config(), epochs.append, path)
    assert seen[0] == (2, 3)
    assert [epoch.number for epoch in epochs] == [0, 1, 2, 3]  # who watches sees the earlier ones again
    seen.clear()
    again = trainer().train(FOLD, config(), epochs.append, path)
    assert not seen
    assert [epoch.number for epoch in epochs] == [0, 1, 2, 3, 0, 1, 2, 3]
    same_result(again, first)
    assert again.seconds == first.seconds > 0
    assert again.peak_memory_mb == first.peak_memory_mb > 10


def test_a_short_training_writes_nothing_before_its_end(tmp_path: Path) -> None:
    path, there = tmp_path / "fold_1.ckpt", []
    MILFoldTrainer(EUOS25, EPOCHS, 20).train(FOLD, config(), lambda _: there.append(path.exists()), path)
    assert there == [False] * EPOCHS
    assert path.is_file()


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"cfg": config(lr=0.001)}, "lr: 0.005 there, 0.001 here"),
        ({"epochs": 9}, "max_epochs: 4 there, 9 here"),
        ({"cfg": dataclasses.replace(config(), runtime=RuntimeConfig(accelerator="cpu", seed=3))}, "seed: 0 there, 3 here"),
        ({"fold": make_cv(make_bags(110, seed=1)).fold(1)}, "data: '[0-9a-f]{64}' there, '[0-9a-f]{64}' here"),
        ({"fold": make_cv(make_bags(110)).fold(2)}, "molecules: '[0-9a-f]{16}' there, .*; fold: 1 there, 2 here"),
        ({"fold": make_cv(make_bags(110), prescaled=True).fold(1)}, "scaling: 'standard' there, 'none' here"),
    ],
)
def test_another_training_is_refused_and_the_difference_named(tmp_path: Path, change: dict[str, Any], shown: str) -> None:
    path = tmp_path / "fold_1.ckpt"
    interrupted(path, 1, 0, config())
    before = path.read_bytes()
    with pytest.raises(
        StudyError, match=rf"fold_1\.ckpt: is another training \({shown}.*\); delete it to train anew"
    ) as caught:
        trainer(change.get("epochs", EPOCHS)).train(change.get("fold", FOLD), change.get("cfg", config()), checkpoint=path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", "half", "other"], ids=str)
def test_a_file_that_is_no_training_is_one_line(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "fold_1.ckpt"
    interrupted(path, 1, 0, config())
    whole = path.read_bytes()
    if content == "other":
        write_tensors(path, {"format": 0})
    else:
        path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=r"fold_1\.ckpt: is .*; delete it to train anew") as caught:
        trainer().train(FOLD, config(), checkpoint=path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_holds_plain_types_and_tensors_alone(tmp_path: Path) -> None:
    path = tmp_path / "fold_1.ckpt"
    interrupted(path, 1, 2, config())
    saved = torch.load(path, weights_only=True)
    assert (saved["epoch"], saved["batch"], saved["done"]) == (1, 2, False)
    assert saved["identity"]["lr"] == 0.005
    assert saved["state"]["optimizer"]["state"][0]["step"] == 7


def test_another_torch_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "fold_1.ckpt"
    interrupted(path, 1, 2, config())
    write_tensors(path, {**read_tensors(path), "torch": "1.0"})
    with caplog.at_level(logging.WARNING, "milbench"):
        trainer().train(FOLD, config(), checkpoint=path)
    assert "from torch 1.0, goes on with" in caplog.text


def asked_to_stop(patch: pytest.MonkeyPatch, *signals: tuple[int, int, int]) -> None:
    """(signal, epoch, batch): it comes in the middle of that step."""
    honest = MILModule.training_step

    def step(self: MILModule, given: Any, batch_idx: int) -> None:
        for signum, epoch, batch in signals:
            if (self.current_epoch, batch_idx) == (epoch, batch):
                os.kill(os.getpid(), signum)
        honest(self, given, batch_idx)

    patch.setattr(MILModule, "training_step", step)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
@pytest.mark.parametrize(("batch", "saved"), [(0, (1, 2)), (1, (1, 2)), (4, (2, 0))])
def test_asked_to_stop_it_saves_at_the_next_step_of_the_optimizer(
    tmp_path: Path, signum: signal.Signals, batch: int, saved: tuple[int, int]
) -> None:
    path, cfg, before = tmp_path / "fold_1.ckpt", config(2), [signal.getsignal(s) for s in (2, 10, 15)]
    with pytest.MonkeyPatch.context() as patch:
        asked_to_stop(patch, (signum, 1, batch))
        with pytest.raises(Interrupted) as caught:
            MILFoldTrainer(EUOS25, EPOCHS, 20).train(FOLD, cfg, checkpoint=path)
    assert caught.value.signal == signum
    assert [signal.getsignal(s) for s in (2, 10, 15)] == before
    content = read_tensors(path)
    assert (content["epoch"], content["batch"]) == saved
    same_result(trainer().train(FOLD, cfg, checkpoint=path), trainer().train(FOLD, cfg))


def test_a_request_in_the_last_epoch_keeps_the_finished_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fold_1.ckpt"
    with pytest.MonkeyPatch.context() as patch:
        asked_to_stop(patch, (signal.SIGTERM, EPOCHS - 1, BATCHES - 1))
        with pytest.raises(Interrupted):
            trainer(every_s=1e9).train(FOLD, config(), checkpoint=path)
    seen = watched(monkeypatch)
    same_result(trainer().train(FOLD, config(), checkpoint=path), trainer().train(FOLD, config()))
    assert seen[:1] == [(0, 0)]  # of the second alone


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fold_1.ckpt"
    asked_to_stop(monkeypatch, (signal.SIGINT, 1, 0), (signal.SIGINT, 1, 1))
    with pytest.raises(Interrupted):
        trainer(every_s=1e9).train(FOLD, config(accumulate=5), checkpoint=path)
    assert not path.exists()


def test_without_a_file_signals_are_left_alone() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGUSR1)]
    seen = []
    trainer(1).train(FOLD, config(), lambda _: seen.extend(signal.getsignal(s) for s in (signal.SIGINT, signal.SIGUSR1)))
    assert seen == before
