"""Scores with intervals: the points are scikit-learn's, the intervals cover, and what has no score says so."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from builders import make_tasks
from milbench.data.bootstrap import Ladder, Ranking
from milbench.data.scoring import Scores, join_tables, score
from milbench.data.tables import Table, from_frame
from milbench.errors import ConfigError, DataError
from milbench.files import read_json
from milbench.metrics import evaluate
from milbench.score_command import ScoreConfig, run_score
from milbench.tasks import EUOS25, Endpoint, TaskSet


@given(st.integers(0, 10_000), st.integers(20, 80), st.sampled_from([0, 1, 3]))
def test_ap_and_auc_are_those_of_scikit_learn_ties_included(seed, n, digits):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 1)) < 0.3).astype(float)
    y[:2, 0] = 0, 1
    p = np.round(rng.random((n, 1)) + 0.3 * y, digits)
    found = score(y, p, ["a"], draws=100)
    assert found.ap[0] == pytest.approx(average_precision_score(y[:, 0], p[:, 0]), abs=1e-12)
    assert found.auc[0] == pytest.approx(roc_auc_score(y[:, 0], p[:, 0]), abs=1e-12)


def test_the_intervals_are_those_of_a_plain_stratified_bootstrap():
    rng = np.random.default_rng(0)
    y = np.repeat([1.0, 0.0], [30, 200])
    p = rng.normal(size=230) + y
    drawn = []
    for _ in range(700):
        rows = np.concatenate([rng.choice(np.flatnonzero(y == v), (y == v).sum()) for v in (1, 0)])
        drawn.append((average_precision_score(y[rows], p[rows]), roc_auc_score(y[rows], p[rows])))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    found = score(y[:, None], p[:, None], ["a"], draws=1000)
    np.testing.assert_allclose(found.ap_range[0], [low[0], high[0]], atol=0.03)
    np.testing.assert_allclose(found.auc_range[0], [low[1], high[1]], atol=0.015)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truth = 0.7602499389  # P(N(1,1) > N(0,1))
    rng, inside = np.random.default_rng(1), 0
    for seed in range(200):
        y = np.repeat([1.0, 0.0], [40, 160])
        found = score(y[:, None], (rng.normal(size=200) + y)[:, None], ["a"], draws=200, seed=seed)
        inside += found.auc_range[0, 0] <= truth <= found.auc_range[0, 1]
    assert 176 <= inside <= 199


def test_a_missing_label_is_left_out_and_never_a_negative():
    y, p = np.array([[1.0], [0.0], [np.nan], [np.nan]]), np.array([[0.8], [0.2], [0.9], [np.nan]])
    found = score(y, p, ["a"])
    assert (found.n[0], found.positives[0], found.ap[0], found.auc[0]) == (2, 1, 1.0, 1.0)


def test_an_endpoint_without_positives_has_no_score_and_is_named():
    y, p = np.array([[0.0, 1.0], [0.0, 1.0]]), np.full((2, 2), 0.5)
    found = score(y, p, ["none", "all"])
    assert np.isnan(found.ap[0]) and np.isnan(found.auc).all() and found.ap[1] == 1.0
    assert found.undefined == ("none",)
    assert any("no positive of none" in line for line in found.lines())


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    rng = np.random.default_rng(0)
    y, p = (rng.random((100, 1)) < 0.3).astype(float), rng.random((100, 1))
    first, again, other = (score(y, p, ["a"], seed=seed).ap_range for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    labels = pd.DataFrame({"ID": ["a", "b", "c", "d"], "assay_0": [1, 0, None, 1]})
    return pd.DataFrame({"ID": ["c", "b", "a"], "pred_assay_0": [0.1, 0.2, 0.9]}), labels


def score_tables(predictions: Table, labels: Table | None, tasks: TaskSet) -> Scores:
    """As `milbench score` scores a table of predictions against one of labels."""
    joined = join_tables(predictions, labels, tasks)
    return score(joined.y, joined.p, tasks.names, joined.weights)


def test_tables_are_joined_on_id_and_what_lacks_a_prediction_is_counted():
    predictions, labels = (from_frame(frame, "table") for frame in frames())
    found = score_tables(predictions, labels, make_tasks(1))
    assert (found.n[0], found.ap[0]) == (2, 1.0)
    joined = join_tables(predictions, labels, make_tasks(1))
    assert joined.left_out == ("1 labelled molecules have no prediction and are left out",)


def test_labels_may_stand_beside_the_predictions():
    both = frames()[0].assign(label_assay_0=[0, 0, 1])
    assert score_tables(from_frame(both, "t"), None, make_tasks(1)).auc[0] == 1.0


def test_rows_of_one_molecule_must_agree():
    predictions, labels = frames()
    twice = pd.concat([predictions, predictions])
    assert score_tables(from_frame(twice, "t"), from_frame(labels, "l"), make_tasks(1)).n[0] == 2
    twice.iloc[0, 1] = 0.7
    with pytest.raises(DataError, match="two values for ID c"):
        score_tables(from_frame(twice, "t"), from_frame(labels, "l"), make_tasks(1))


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        (pd.DataFrame({"ID": ["x"], "pred_assay_0": [0.5]}), "shares no ID"),
        (pd.DataFrame({"ID": ["a"], "other": [0.5]}), "column 'pred_assay_0' is missing"),
        (pd.DataFrame({"ID": ["a"], "pred_assay_0": [np.nan]}), "NaN or inf"),
    ],
)
def test_predictions_that_do_not_fit_are_one_line(predictions, words):
    with pytest.raises(DataError, match=words):
        score_tables(from_frame(predictions, "t"), from_frame(frames()[1], "l"), make_tasks(1))


def test_too_few_draws_are_refused():
    with pytest.raises(ConfigError, match="bootstrap"):
        score(np.ones((2, 1)), np.ones((2, 1)), ["a"], draws=5)


def test_the_command_scores_files(tmp_path):
    tasks = tmp_path / "tasks.json"
    tasks.write_text('{"name": "one", "endpoints": [{"name": "assay_0"}]}')
    for name, frame in zip(("p", "l"), frames()):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    lines, status = run_score(ScoreConfig(tmp_path / "p.csv", tmp_path / "l.csv", tasks=str(tasks), json=tmp_path / "s.json"))
    assert status == 0 and "assay_0" in lines[1]
    assert (
        read_json(tmp_path / "s.json")["left_out"]
        == [lines[-1]]
        == ["1 labelled molecules have no prediction and are left out"]
    )


def test_a_weighted_ap_is_that_of_scikit_learn_and_of_the_run():
    rng = np.random.default_rng(3)
    n, tasks = 90, EUOS25
    y = (rng.random((n, 4)) < 0.3).astype(float)
    y[rng.random(y.shape) < 0.1] = np.nan
    p, w = np.round(rng.random((n, 4)), 1), rng.uniform(0.1, 3, (n, 4))
    table = {"ID": [f"M{i}" for i in range(n)]}
    for t, endpoint in enumerate(tasks.endpoints):
        table |= {f"pred_{endpoint.name}": p[:, t], f"label_{endpoint.name}": y[:, t], f"weight_{endpoint.name}": w[:, t]}
    found, honest = score_tables(from_frame(pd.DataFrame(table), "t"), None, tasks), evaluate(y, p, w, tasks)
    np.testing.assert_allclose(found.ap, honest.ap, atol=1e-12)
    np.testing.assert_allclose(found.auc, honest.auc, atol=1e-12)
    assert found.weighted == ("Transmittance_340", "Transmittance_450")
    assert any("is sample-weighted" in line for line in found.lines())


def test_weights_beside_the_labels_are_used_where_the_endpoint_declares_them():
    tasks = TaskSet("one", (Endpoint("a", weight="w", ap_weighted=True), Endpoint("b", weight="w")))
    predictions = pd.DataFrame({"ID": list("xyz"), "pred_a": [0.9, 0.5, 0.1], "pred_b": [0.9, 0.5, 0.1]})
    labels = pd.DataFrame({"ID": list("zyx"), "a": [1, 0, 1], "b": [1, 0, 1], "w": [1.0, 4.0, 1.0]})
    found = score_tables(from_frame(predictions, "p"), from_frame(labels, "l"), tasks)
    np.testing.assert_allclose(found.ap, [(1 + 2 / 6) / 2, (1 + 2 / 3) / 2])


@given(st.integers(0, 10_000))
def test_every_draw_of_the_bootstrap_scores_exactly_the_molecules_drawn(seed):
    rng = np.random.default_rng(seed)
    y = rng.choice([0.0, 1.0, np.nan], 40, p=[0.6, 0.3, 0.1])
    y[:2] = 0, 1
    p, w = np.round(rng.random(40), 1), rng.uniform(0.1, 3, 40)
    rows = [rng.integers(0, 40, 40) for _ in range(3)]
    ap, auc = Ranking(Ladder.of(y, p), w).score(rows)
    for i, drawn in enumerate(rows):
        known = drawn[np.isfinite(y[drawn])]
        if 0 < y[known].sum() < len(known):
            assert ap[i] == pytest.approx(average_precision_score(y[known], p[known], sample_weight=w[known]))
            assert auc[i] == pytest.approx(roc_auc_score(y[known], p[known]))
