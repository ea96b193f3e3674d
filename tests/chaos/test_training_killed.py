"""Killed at every epoch, at random batches and at random moments, a training ends as the uninterrupted one, bit for bit."""

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_training import BATCHES, EPOCHS, train_until
from processes import exit_code, process

from milbench.files import read_tensors
from reliability import Figure

pytestmark = pytest.mark.chaos

FILES = ("found.pt", "last.pt", "optimizer.pt")


def run(folder: Path, place: tuple[int, int] | None = None) -> int:
    return exit_code(process(train_until, folder, place))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run(folder) == 0
    return folder


def leaves(value: Any) -> list[torch.Tensor]:
    """All numbers of a nested value, as tensors."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value, key=str) for leaf in leaves(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value if isinstance(value, torch.Tensor) else torch.tensor(value if value is not None else -1)]


def same_bits(a: Path, b: Path) -> int:
    """Weights, logits, metrics, losses, best epoch, and the optimizer's state; gives how many tensors were compared."""
    count = 0
    for name in FILES:
        pairs = list(zip(leaves(read_tensors(a / name)), leaves(read_tensors(b / name)), strict=True))
        for one, other in pairs:
            assert one.dtype == other.dtype
            assert one.numpy().tobytes() == other.numpy().tobytes(), name
        count += len(pairs)
    assert count > 200
    return count


def killed_at(folder: Path, places: list[tuple[int, int]]) -> None:
    """One training, killed at each place in turn, then left to end."""
    for place in places:
        assert run(folder, place) == -signal.SIGKILL
    assert run(folder) == 0


def test_killed_at_every_epoch_it_ends_the_same(tmp_path: Path, uninterrupted: Path, reliability: Figure) -> None:
    rng = np.random.default_rng(4)
    killed_at(tmp_path, [(epoch, int(rng.integers(BATCHES))) for epoch in range(EPOCHS)])
    count = same_bits(tmp_path, uninterrupted)
    reliability(
        "a training killed in every epoch and resumed is the uninterrupted one",
        f"{EPOCHS} kills in {EPOCHS} epochs: {count} of {count} tensors (weights, optimizer, logits, metrics) bitwise equal",
    )


def test_killed_at_random_batches_it_ends_the_same(tmp_path: Path, uninterrupted: Path, reliability: Figure) -> None:
    rng = np.random.default_rng(11)
    places = sorted(divmod(int(place), BATCHES) for place in rng.choice(EPOCHS * BATCHES, 10, replace=False))
    killed_at(tmp_path, places)
    count = same_bits(tmp_path, uninterrupted)
    reliability(
        "a training killed at random batches and resumed is the uninterrupted one",
        f"{len(places)} kills: {count} of {count} tensors bitwise equal",
    )


def test_killed_at_random_moments_it_ends_the_same(tmp_path: Path, uninterrupted: Path) -> None:
    rng, kills, checkpoint = np.random.default_rng(7), 0, tmp_path / "fold_1.ckpt"
    for _ in range(20):
        before = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0
        training = process(train_until, tmp_path, None)
        while training.is_alive() and not (checkpoint.is_file() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        training.kill()
        kills += exit_code(training) == -signal.SIGKILL
    assert run(tmp_path) == 0
    assert kills > 2
    same_bits(tmp_path, uninterrupted)
