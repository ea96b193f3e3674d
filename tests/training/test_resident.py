"""Arrays that live where the training is: the same batches, the same training, and no waiting for the device in an epoch."""

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from builders import make_bags, make_cv
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.bags import BagBatch
from milbench.data.cv import FoldData
from milbench.tasks import EUOS25
from milbench.training import fold as fold_module
from milbench.training import resident
from milbench.training.fold import FoldResult, MILFoldTrainer
from milbench.training.resident import ResidentLoader, arrays_bytes, fits, fold_loaders, resident_loaders
from milbench.training.trainer import eval_loader, train_loader
from runs import PINS, same_weights, watch_steps

CONFIG = HPOConfig.from_params(PINS, EUOS25, runtime=RuntimeConfig(accelerator="cpu"))
CPU = torch.device("cpu")


def a_fold(**options: Any) -> FoldData:
    sizes = np.random.default_rng(0).integers(0, 6, 90)
    return make_cv(make_bags(90, sizes=sizes), **options).fold(1)


def tensors(batch: BagBatch) -> list[torch.Tensor]:
    own = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    return own + ([] if batch.targets is None else list(vars(batch.targets).values()))


@pytest.mark.parametrize("options", [{}, {"prescaled": True}, {"impute": "median"}], ids=str)
def test_its_batches_are_those_of_the_loaders_bit_for_bit(options: dict[str, Any]) -> None:
    fold = a_fold(**options)
    plain = train_loader(fold, CONFIG), eval_loader(fold, fold.val, CONFIG.runtime)
    for ours, theirs in zip(resident_loaders(fold, CONFIG, CPU), plain, strict=True):
        for epoch in range(2):
            for loader in (ours, theirs):
                if hasattr(loader.sampler, "set_epoch"):
                    loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
            batches = list(zip(ours, theirs, strict=True))
            assert len(batches) == len(ours) == len(theirs)
            for a, b in batches:
                assert all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings read from arrays on the device, which is the processor here."""
    monkeypatch.setattr(fold_module, "fold_loaders", resident_loaders)


def train(config: HPOConfig = CONFIG, epochs: int = 3, **options: Any) -> FoldResult:
    return MILFoldTrainer(EUOS25, epochs, 20, 0.0).train(a_fold(), config, **options)


def test_the_same_training_whether_its_arrays_live_there_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train()
    monkeypatch.setattr(fold_module, "fold_loaders", resident_loaders)
    there = train()
    assert same_weights(plain.model.state_dict(), there.model.state_dict())
    assert np.array_equal(plain.val_logits, there.val_logits)
    assert [epoch.train_loss for epoch in plain.history] == [epoch.train_loss for epoch in there.history]


@pytest.mark.usefixtures("on_device")
def test_an_interrupted_training_goes_on_to_the_same_end(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop(module: Any) -> None:
        if module.trainer.current_epoch == 1 and module.trainer.fit_loop.epoch_loop.batch_idx == 1:
            raise Stopped

    whole = train()
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        watch_steps(patch, stop)
        train(checkpoint=tmp_path / "fold.ckpt")
    gone_on = train(checkpoint=tmp_path / "fold.ckpt")
    assert same_weights(whole.model.state_dict(), gone_on.model.state_dict())


class Waits(TorchDispatchMode):
    """Notes what would make the host wait for a device: a number read off it, a size that depends on its content."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique2"}:
            self.seen.append(name)
        if name.startswith("index") and any(
            x.dtype == torch.bool for x in tree_leaves(args[1:2]) if isinstance(x, torch.Tensor)
        ):
            self.seen.append(name)  # counts its True first
        if name == "repeat_interleave" and (kwargs or {}).get("output_size") is None:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device_between_the_first_and_the_last_batch_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fold_module, "fold_loaders", resident_loaders)
    monkeypatch.setattr("milbench.models.layers._WORTH_A_GENERATOR", 10**9)  # the processor's own way to draw large masks
    watched = Waits()
    honest = ResidentLoader.__iter__

    def batches(self: ResidentLoader) -> Any:
        made = honest(self)
        while True:
            with watched:
                batch = next(made, None)
            if batch is None:
                return
            yield batch

    monkeypatch.setattr(ResidentLoader, "__iter__", batches)
    from milbench.training.module import MILModule

    for name in ("training_step", "validation_step"):
        step = getattr(MILModule, name)

        def under_watch(self: MILModule, batch: BagBatch, batch_idx: int, step: Any = step) -> None:
            with watched:
                step(self, batch, batch_idx)

        monkeypatch.setattr(MILModule, name, under_watch)
    train()
    assert watched.seen == []
    with Waits() as sees:  # else the watch is blind
        int(torch.ones(2).sum())
        torch.ones(2)[torch.tensor([True, False])]
        torch.arange(2).repeat_interleave(torch.tensor([1, 2]))
    assert sees.seen == ["_local_scalar_dense", "index", "repeat_interleave"]


def test_arrays_stay_where_they_are_without_cuda(caplog: pytest.LogCaptureFixture) -> None:
    fold = a_fold()
    with caplog.at_level(logging.INFO, "milbench"):
        loaders = fold_loaders(fold, CONFIG, CPU)
    assert not any(isinstance(loader, ResidentLoader) for loader in loaders)
    assert not caplog.records


def test_arrays_larger_than_half_of_what_is_free_are_sent_batch_by_batch_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gib = 2**30
    monkeypatch.setattr(resident, "_free", lambda device: 10 * gib)
    cuda = torch.device("cuda", 0)
    with caplog.at_level(logging.INFO, "milbench"):
        assert [fits(cuda, needed) for needed in (5 * gib, 5 * gib, 5 * gib + 1)] == [True, True, False]
    assert [record.message for record in caplog.records] == [
        "training data live on cuda:0 (5.0 GiB, 50% of 10 GiB free may be used)",
        "training data do not fit cuda:0: batches are sent one by one (5.0 GiB, 50% of 10 GiB free may be used)",
    ]


def test_the_arrays_are_counted_to_the_byte() -> None:
    fold = a_fold()
    targets = fold.targets(CONFIG.loss)
    n, r = len(fold.bags), len(fold.bags.xinst)
    labels = n * (4 + 4) * 4 + n * 4
    auxiliary = n * (2 + 4) * (4 + 1 + 4)
    assert arrays_bytes(fold.bags, targets) == n * 5 * 4 + r * 6 * 4 + (n + 1) * 8 + labels + auxiliary + n * 8


def test_a_training_that_must_halve_its_batches_finds_them_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from milbench.models.mil import MILTaskAttnMixerWithAux

    monkeypatch.setattr(fold_module, "fold_loaders", resident_loaders)
    honest = MILTaskAttnMixerWithAux.loss

    def short(self: MILTaskAttnMixerWithAux, batch: BagBatch, *whole: Any) -> Any:
        if len(batch) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return honest(self, batch, *whole)

    monkeypatch.setattr(MILTaskAttnMixerWithAux, "loss", short)
    result = train(dataclasses.replace(CONFIG))
    assert result.halved
    assert result.epochs == 3
