"""Taking conformers away: the ends are known, and the order follows attention."""

import numpy as np
import pytest

from builders import make_bags, make_cv, make_model
from milbench.tasks import EUOS25
from milbench.training.checkpoint import TrainedModel
from milbench.training.deletion import AT_RANDOM, MOST_FIRST, deletion_curve, subsets
from milbench.training.ensemble import Ensemble

SIZES = np.array([5, 1, 3, 4, 2, 6, 2, 3, 1, 4, 2, 5])
TASK = EUOS25.names[2]


@pytest.fixture
def trained() -> tuple[Ensemble, object]:
    """A stirred model of twelve molecules."""
    bags = make_bags(len(SIZES), sizes=SIZES)
    stats = make_cv(bags, 2).fold(0).stats
    model = make_model(bags)
    one = TrainedModel(model, EUOS25, stats.scale2d, stats.scale_inst, bags.names2d, bags.names_inst, {})
    return Ensemble((one,)), bags


def test_both_orders_begin_with_the_whole_bag_and_end_with_the_molecule_alone(trained: tuple):
    model, bags = trained
    curve = deletion_curve(model, bags, 5, TASK, orders=4)
    whole = model.predict(bags, np.array([5])).probability[0, 2]
    alone = model.predict(subsets(bags, 5, [np.empty(0, np.int64)]), np.array([0])).probability[0, 2]
    for _, part in curve.groupby("order"):
        assert part["removed"].tolist() == list(range(7))
        assert part["probability"].iloc[0] == pytest.approx(whole, abs=1e-6)
        assert part["probability"].iloc[-1] == pytest.approx(alone, abs=1e-6)
    assert (curve["low"] <= curve["high"]).all()


def test_the_most_attended_goes_first(trained: tuple):
    model, bags = trained
    attention = model.predict(bags, np.array([3])).attention[:, 2]
    rest = np.sort(np.argsort(-attention)[1:])
    expected = model.predict(subsets(bags, 3, [rest]), np.array([0])).probability[0, 2]
    curve = deletion_curve(model, bags, 3, TASK, orders=2)
    first = curve[(curve["order"] == MOST_FIRST) & (curve["removed"] == 1)]
    assert first["probability"].item() == pytest.approx(expected, abs=1e-6)


def test_a_curve_repeats_itself(trained: tuple):
    model, bags = trained
    first, again = (deletion_curve(model, bags, 0, TASK, orders=3) for _ in range(2))
    assert first.equals(again) and set(first["order"]) == {MOST_FIRST, AT_RANDOM}
