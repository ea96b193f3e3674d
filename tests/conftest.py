"""The corner cases that have names (design section 3), used everywhere."""

import logging
from collections.abc import Iterator

import numpy as np
import optuna
import pytest
import torch
from hypothesis import HealthCheck, settings

from builders import batch_of, make_bags
from milbench.data.bags import BagBatch, BagData

pytest_plugins = ["reliability"]
torch.set_num_threads(1)
settings.register_profile(
    "milbench", deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("milbench")


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """What a command does to the loggers of this process is undone: pytest.mark.usefixtures("logging_as_before")."""
    logger, level = logging.getLogger("milbench"), optuna.logging.get_verbosity()
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before
    optuna.logging.set_verbosity(level)


@pytest.fixture
def one_bag() -> BagBatch:
    """One molecule with one conformer."""
    return batch_of(1)


@pytest.fixture
def empty_bag() -> BagBatch:
    """Three molecules, the middle one without a conformer."""
    return batch_of(3, 0, 2)


@pytest.fixture
def no_positives() -> BagData:
    """A data set in which the last endpoint has no positive."""
    bags = make_bags()
    bags.raw.y[:, -1] = 0
    return bags


@pytest.fixture
def all_missing() -> BagData:
    """A data set in which no label of the last endpoint and no auxiliary is known."""
    bags = make_bags()
    bags.raw.y[:, -1] = np.nan
    bags.raw.abs[:], bags.raw.fluo[:] = np.nan, np.nan
    return bags
