"""What is timed is a sample that stands for the whole fold."""

import dataclasses
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from builders import make_bags, make_cv, tiny_config
from milbench.features import Scaling
from milbench.training import timing
from milbench.training.timing import sample_folds, time_fold


def test_a_sample_has_its_part_of_every_fold_and_of_the_positives() -> None:
    data = dataclasses.replace(make_cv(make_bags(900)), scaling=Scaling("signed_log", 3.0))
    sample = sample_folds(data, 150)
    assert sample.scaling == data.scaling
    kept = sample.fold_of >= 0
    np.testing.assert_array_equal(sample.fold_of[kept], data.fold_of[kept])
    assert len(sample.fold(0).train) == pytest.approx(150, rel=0.3)
    assert sample.n_folds == data.n_folds
    share = kept.sum() / (data.fold_of >= 0).sum()
    positives = (data.bags.raw.y == 1).sum(axis=0)
    np.testing.assert_allclose((data.bags.raw.y[kept] == 1).sum(axis=0), positives * share, atol=2)


def test_a_small_data_set_is_timed_whole() -> None:
    data = make_cv(make_bags(90))
    assert sample_folds(data, 1000) is data


def test_an_epoch_of_the_whole_fold_is_told_though_a_sample_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = make_cv(make_bags(400)), tiny_config()
    monkeypatch.setattr(timing, "STEPS", 1)
    ticks = count(0.0, 2.0)  # every epoch of the sample takes two seconds
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    found = time_fold(data, config)
    sample = sample_folds(data, config.optimization.batch_size).fold(0)
    assert len(sample.train) < len(data.fold(0).train) == found.molecules
    assert found.epoch_s == pytest.approx(2 * found.molecules / len(sample.train))
    assert found.steps == -(-found.molecules // config.optimization.batch_size)
    assert found.memory_mb > 0
