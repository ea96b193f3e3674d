"""Tables that leave a run: one row a conformer, one row a molecule."""

import numpy as np
import pandas as pd
import pytest
import torch

from builders import make_bags, make_cv, make_model
from milbench.export import attention_table, prediction_table
from milbench.tasks import EUOS25
from milbench.training.evaluator import ModelEvaluator

SIZES = np.array([2, 0, 3, 1, 4, 0, 1, 5, 2, 3, 1, 2])


def predicted(rows: list[int], **params: object) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Attention and prediction tables of these molecules, and the probabilities [n, T]."""
    bags = make_bags(len(SIZES), sizes=SIZES)
    chosen = np.array(rows)
    evaluator = ModelEvaluator(make_model(bags, **params), make_cv(bags, 2).fold(0).scaled, EUOS25)
    out = evaluator.predict(chosen)
    probability = out.probability
    attention = attention_table(bags, chosen, probability, out.attention, EUOS25)
    return attention, prediction_table(bags, chosen, probability, EUOS25), probability


@pytest.mark.parametrize("rows", [list(range(12)), [7, 0, 4], [3], [1, 2, 5]])
@pytest.mark.parametrize("aggregator", ["task_attention_pool", "gated_attention", "mean_pool"])
def test_attention_sums_to_one_for_every_molecule_and_task(rows: list[int], aggregator: str) -> None:
    table, _, _ = predicted(rows, aggregator_name=aggregator)
    columns = [f"attn_{name}" for name in EUOS25.names]
    sums = table.groupby("ID")[columns].sum()
    assert set(sums.index) == {f"M{i}" for i in rows if SIZES[i]}
    np.testing.assert_allclose(sums, 1, atol=1e-6)


def test_every_conformer_has_its_row_in_the_order_asked_for() -> None:
    table, _, probability = predicted([7, 0, 1, 4])
    assert table.columns.tolist() == [
        "ID",
        "conf_id",
        *(f"pred_{name}" for name in EUOS25.names),
        *(f"attn_{name}" for name in EUOS25.names),
    ]
    assert table["ID"].tolist() == ["M7"] * 5 + ["M0"] * 2 + ["M4"] * 4
    assert table["conf_id"].tolist() == [*"01234", *"01", *"0123"]
    names = [f"pred_{name}" for name in EUOS25.names]
    np.testing.assert_array_equal(table.groupby("ID", sort=False)[names].first(), probability[[0, 1, 3]])


def test_a_molecule_without_conformers_is_predicted_and_flagged() -> None:
    _, table, probability = predicted([0, 1, 5])
    assert table["ID"].tolist() == ["M0", "M1", "M5"]
    assert table["conformers"].tolist() == [2, 0, 0]
    assert np.isfinite(probability).all()


def test_what_is_predicted_does_not_depend_on_who_else_is_asked_for() -> None:
    _, _, together = predicted(list(range(12)))
    for i in range(12):
        np.testing.assert_allclose(predicted([i])[2][0], together[i], atol=1e-6)


def test_an_unknown_label_stays_unknown_in_the_table() -> None:
    bags = make_bags(12, sizes=SIZES)
    bags.raw.y[3, 1] = np.nan
    table = prediction_table(bags, np.arange(12), np.zeros((12, 4)), EUOS25)
    assert np.isnan(table.loc[3, "label_Transmittance_450"])
    assert table["label_Transmittance_450"].notna().sum() == 11


def test_predicting_leaves_the_model_as_it_was() -> None:
    bags = make_bags(12, sizes=SIZES)
    model = make_model(bags).train()
    ModelEvaluator(model, make_cv(bags, 2).fold(0).scaled, EUOS25).predict(np.arange(12))
    assert model.training
    assert not torch.is_inference_mode_enabled()
