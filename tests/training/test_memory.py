"""Too little memory: the batch is taken in halves, once, and what is learned stays what the whole batch teaches."""

import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from builders import TINY, make_bags, make_cv, make_model
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.bags import BagBatch
from milbench.errors import StudyError
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.tasks import EUOS25
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.fold import FoldResult, MILFoldTrainer
from milbench.training.memory import free_memory, is_out_of_memory, keep_freed_memory
from milbench.training.module import MILModule
from milbench.training.study import MILStudyRunner
from runs import cv_run, same_weights, small_cv, trials_of

FOLD = make_cv(make_bags(120)).fold(1)
PARAMS = {**TINY, "lr": 0.005, "batch_size": 20, "accumulate_grad_batches": 2}
CONFIG = HPOConfig.from_params(PARAMS, EUOS25, runtime=RuntimeConfig(accelerator="cpu"))


def targets_of(model: MILTaskAttnMixerWithAux, rows: list[int], missing: float, seed: int) -> BagBatch:
    data = make_cv(make_bags(80, missing=missing, seed=seed, sizes=np.random.default_rng(seed).integers(0, 5, 80)))
    fold = data.fold(0)
    batch = fold.batch(torch.tensor(rows), fold.targets(CONFIG.loss))
    return BagBatch(batch.x2d.double(), batch.xinst.double(), batch.offsets, batch.segment, batch.index, batch.targets)


@given(
    rows=st.lists(st.integers(0, 79), min_size=1, max_size=12),
    missing=st.sampled_from([0.0, 0.4]),
    seed=st.integers(0, 3),
    kind=st.sampled_from(["mse", "smoothl1"]),
)
def test_the_losses_and_gradients_of_the_halves_add_up_to_the_whole_batchs(
    rows: list[int], missing: float, seed: int, kind: str
) -> None:
    model = make_model(make_bags(80), reg_loss_type=kind).double().eval()
    batch = targets_of(model, rows, missing, seed)
    model.loss(batch).total.backward()
    whole = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    halves = batch.halves()
    assert sum(map(len, halves)) == len(batch)
    losses = [model.loss(half, batch.targets) for half in halves]
    sum(loss.total for loss in losses).backward()  # type: ignore[union-attr]
    again = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    expected = model.loss(batch)
    torch.testing.assert_close(sum(loss.total for loss in losses), expected.total, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sum(loss.per_task for loss in losses), expected.per_task, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(again, whole, rtol=1e-8, atol=1e-12)


def test_halves_are_views_of_the_molecules_in_order() -> None:
    batch = FOLD.batch(torch.arange(7), FOLD.targets(CONFIG.loss))
    first, second = batch.halves()
    assert (len(first), len(second)) == (4, 3)
    for field in ("x2d", "xinst", "index"):
        assert torch.equal(torch.cat([getattr(first, field), getattr(second, field)]), getattr(batch, field))
    assert first.x2d.data_ptr() == batch.x2d.data_ptr()
    for half in (first, second):
        assert half.segment.tolist() == torch.repeat_interleave(torch.arange(len(half)), half.offsets.diff()).tolist()
    assert [len(part) for part in FOLD.batch(torch.arange(1)).halves()] == [1]


@contextmanager
def short_memory(most: int, when: str = "forward", after: int = 0, training: bool = True) -> Iterator[list[int]]:
    """The device has memory for `most` molecules at a time, from the `after`-th time on; gives what did not fit.

    The error comes out of a submodule's forward or backward pass, where the allocator would raise it.
    """
    short: list[int] = []
    seen = iter(range(10**6))

    def check(module: torch.nn.Module, given: Any, *_: Any) -> None:
        size = given[0].shape[0]
        if size > most and module.training == training and next(seen) >= after:
            short.append(size)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    honest = MILTaskAttnMixerWithAux.__init__

    def init(self: MILTaskAttnMixerWithAux, *args: Any, **kwargs: Any) -> None:
        honest(self, *args, **kwargs)
        if when == "forward":
            self.proj2d.register_forward_pre_hook(check)
        else:
            self.mol_norm.register_full_backward_hook(check)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MILTaskAttnMixerWithAux, "__init__", init)
        yield short


def train(epochs: int = 3, config: HPOConfig = CONFIG, **options: Any) -> FoldResult:
    return MILFoldTrainer(EUOS25, epochs, 20, 0.0).train(FOLD, config, **options)


@pytest.fixture
def no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout off, so that halves and whole batches see the same network."""
    honest = MILModule.training_step

    def step(self: MILModule, batch: BagBatch, batch_idx: int) -> None:
        for module in self.model.modules():
            module.training = module is self.model or not hasattr(module, "path_rate")
        honest(self, batch, batch_idx)

    monkeypatch.setattr(MILModule, "training_step", step)
    for name in ("mol_dropout", "inst_dropout", "attn_dropout", "mixer_dropout", "head_dropout", "head_stochastic_depth"):
        monkeypatch.setitem(PARAMS, name, 0.0)


@pytest.mark.usefixtures("no_noise")
@pytest.mark.parametrize("when", ["forward", "backward"])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_it_goes_on_with_half_the_molecules_at_a_time_and_learns_the_same(when: str, after: int) -> None:
    config = HPOConfig.from_params(PARAMS, EUOS25, runtime=RuntimeConfig(accelerator="cpu"))
    whole = train(config=config)
    with short_memory(10, when, after) as short:
        halved = train(config=config)
    assert short == [20]  # and never again
    assert (halved.halved, whole.halved) == (True, False)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(halved.model.state_dict()[name], value, rtol=1e-3, atol=2e-5)
    losses = [[epoch.train_loss for epoch in result.history] for result in (whole, halved)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with short_memory(10), caplog.at_level(logging.WARNING, "milbench"):
        train()
    said = [record.message for record in caplog.records if "memory" in record.message]
    assert said == ["fold 2, epoch 1: out of memory; goes on with 10 molecules at a time, the effective batch stays"]


def test_a_second_time_the_training_fails_with_one_line() -> None:
    message = r"fold 2, epoch 1: out of memory, with half the batch too \(10 molecules\); use a smaller batch_size"
    with short_memory(9) as short, pytest.raises(StudyError, match=message) as caught:
        train()
    assert short == [20, 10]
    assert "\n" not in str(caught.value)


def test_validation_is_halved_too() -> None:
    whole = train()
    with short_memory(30, training=False) as short:
        halved = train()
    assert short == [40]
    assert halved.halved
    np.testing.assert_allclose(halved.history[0].metrics.ap, whole.history[0].metrics.ap, atol=1e-6)


def test_other_errors_are_nobodys_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(MILTaskAttnMixerWithAux, "loss", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train()


def test_torch_says_that_memory_is_short_in_two_ways() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**52)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("shapes"))


@pytest.mark.parametrize("place", [(0, 2), (1, 3)])
def test_halved_and_interrupted_it_ends_as_uninterrupted(tmp_path: Path, place: tuple[int, int]) -> None:
    with short_memory(10):
        whole = train()
    path, honest = tmp_path / "fold_1.ckpt", MILModule.training_step

    def step(self: MILModule, batch: BagBatch, batch_idx: int) -> None:
        if (self.current_epoch, batch_idx) == place:
            raise KeyError("killed")
        honest(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch, short_memory(10), pytest.raises(KeyError, match="killed"):
        patch.setattr(MILModule, "training_step", step)
        train(checkpoint=path)
    with short_memory(10) as short:
        resumed = train(checkpoint=path)
    assert not short  # it had learned that
    assert same_weights(resumed.model.state_dict(), whole.model.state_dict())


def test_a_trial_says_that_it_was_halved_and_its_later_folds_begin_so(tmp_path: Path) -> None:
    with short_memory(16) as short:
        MILStudyRunner(MILCrossValidator(small_cv(2), cv_run(trials=1)), tmp_path).run()
    (trial,) = trials_of(tmp_path)
    assert short == [32]  # the first fold's first batch, and never again
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["out_of_memory"] == "fold 1: 16 molecules at a time, the effective batch unchanged"


def test_a_trial_without_memory_fails_and_says_why(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with short_memory(3), pytest.raises(StudyError, match=r"trials in a row failed, .*: out of memory, with half"):
        MILStudyRunner(MILCrossValidator(small_cv(2), cv_run(trials=1)), tmp_path).run()
    assert {trial.state for trial in trials_of(tmp_path)} == {TrialState.FAIL}
    assert all("out of memory, with half the batch too" in trial.user_attrs["failure"] for trial in trials_of(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again_without_the_system_and_given_back_when_asked() -> None:
    def faults() -> int:
        """Pages that the system hands out for ten rounds of taking and freeing 64 MiB in blocks of 8."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            blocks = [torch.ones(2 << 20) for _ in range(8)]
            del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    faults()
    assert faults() < 2_000  # of 160,000 pages
    resident = resident_mib()
    free_memory()
    assert resident - resident_mib() > 32


def resident_mib() -> float:
    """MiB of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def test_the_peak_does_not_count_what_the_process_that_started_it_holds() -> None:
    child = "from milbench.training.memory import process_peak_mb; print(process_peak_mb())"
    parent = (
        f"import numpy, subprocess, sys; held = numpy.ones(2**27); subprocess.run([sys.executable, '-c', {child!r}])"  # 1 GiB
    )
    out = subprocess.run([sys.executable, "-c", parent], check=True, capture_output=True, text=True).stdout
    assert 10 < float(out) < 1000
