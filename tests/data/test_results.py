"""Results of runs: read as they were written, and compared on what they share."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milbench.data.comparison import MACRO, compare
from milbench.data.results import LEADERBOARD, OUT_OF_FOLD, comparable, fold_note, kept, read_result, result_files, shared
from milbench.data.scoreboard import board, compared
from milbench.data.scoring import score
from milbench.errors import DataError
from milbench.score_report import score_report
from results import make_result, table_of


def test_a_result_is_read_as_it_was_written(tmp_path: Path):
    written = make_result()
    table_of(written).to_parquet(tmp_path / "oof.parquet")
    read = read_result(tmp_path / "oof.parquet", "a", OUT_OF_FOLD)
    assert read.names == written.names and (read.ids == written.ids).all()
    for name in ("y", "p", "weights"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.content == written.content


def test_the_content_changes_with_every_number_of_it():
    result = make_result()
    for name in ("y", "p", "weights"):
        changed = getattr(result, name).copy()
        changed[7, 0] = 0.123
        assert dataclasses.replace(result, **{name: changed}).content != result.content


def test_a_table_without_labels_is_one_line(tmp_path: Path):
    pd.DataFrame({"ID": ["a"], "pred_one": [0.5]}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="has no pred_<endpoint> with its label_<endpoint>"):
        read_result(tmp_path / "p.parquet", "a", LEADERBOARD)


def test_a_study_folder_has_the_parts_that_lie_in_it(tmp_path: Path):
    assert result_files(tmp_path) == {}
    table_of(make_result()).to_parquet(tmp_path / "oof.parquet")
    assert result_files(tmp_path) == {OUT_OF_FOLD: tmp_path / "oof.parquet"}


def test_a_run_is_offered_for_comparison_where_it_shares_an_endpoint_and_a_molecule(tmp_path: Path):
    ours, place = make_result(), tmp_path / "oof.parquet"
    same = table_of(make_result(seed=1, run="b"))
    for table, offered in (
        (same, True),
        (same.iloc[-1:], True),
        (same.assign(ID=[f"other {name}" for name in same["ID"]]), False),
        (same.rename(columns=lambda name: name.replace("pred_", "pred_another_")), False),
    ):
        table.to_parquet(place)
        assert comparable(place, ours) is offered
        if not offered:
            with pytest.raises(DataError):
                shared(ours, read_result(place, "b", OUT_OF_FOLD))
    place.write_text("torn")
    assert comparable(place, ours)  # to choose it says what is wrong with it


def test_what_two_runs_do_not_share_is_left_out_and_counted():
    a, b = make_result(), make_result(seed=1, run="b").take(np.arange(119, 19, -1))
    b.y[0, 1] = 1 - np.nan_to_num(a.y[119, 1])
    one, other, said = shared(a, b)
    assert (one.ids == other.ids).all() and len(one.ids) == 100
    np.testing.assert_array_equal(one.y, other.y)
    assert np.isnan(one.y[one.ids == "M119", 1]).all()
    assert said == ("20 molecules of one run alone left out", "1 label that the runs do not agree on left out")
    assert a.y[119, 1] == make_result().y[119, 1] or np.isnan(a.y[119, 1])  # what was given is as it was


def test_runs_that_share_nothing_are_not_compared():
    a = make_result()
    b = dataclasses.replace(a, ids=np.array([f"X{i}" for i in range(len(a.ids))], object))
    with pytest.raises(DataError, match="share no molecule"):
        compare(a, b)


@given(st.integers(0, 1000))
def test_a_run_is_not_distinguishable_from_itself(seed):
    result = make_result(seed, n=60)
    found = compare(result, dataclasses.replace(result, run="b"), draws=100).table
    assert not found["distinguishable"].any()
    assert (found[["difference", "low", "high"]].fillna(0) == 0).all(axis=None)


@given(st.integers(0, 1000))
def test_turned_around_a_comparison_changes_its_sign_and_nothing_else(seed):
    a, b = make_result(seed, n=60), make_result(seed + 1, n=60, run="b", skill=2)
    there, back = compare(a, b, draws=100).table, compare(b, a, draws=100).table
    np.testing.assert_allclose(there["difference"], -back["difference"], atol=1e-12)
    np.testing.assert_allclose(there["low"], -back["high"], atol=1e-12)
    assert (there["distinguishable"] == back["distinguishable"]).all()


def test_the_difference_is_that_of_the_scores_and_the_macro_mean_their_mean():
    a, b = make_result(), make_result(1, run="b", skill=3)
    found = compare(a, b).table
    for metric, name in (("AP", "ap"), ("ROC-AUC", "auc")):
        part = found[found["metric"] == metric].set_index("endpoint")
        for side, result in (("a", a), ("b", b)):
            alone = getattr(score(result.y, result.p, result.names, result.weights, draws=100), name)
            np.testing.assert_allclose(part.loc[["one", "two"], side], alone, atol=1e-12)
        assert part.loc[MACRO, "difference"] == pytest.approx(part.loc[["one", "two"], "difference"].mean())


def test_a_clear_difference_is_distinguished_and_pairing_sharpens_it():
    a = make_result(n=400, skill=1.0)
    p = 1 / (1 + np.exp(-(np.log(a.p / (1 - a.p)) + 0.8 * np.nan_to_num(a.y))))  # the same noise, more skill
    found = compare(a, dataclasses.replace(a, run="b", p=p)).table
    assert found["distinguishable"].all() and (found["low"] > 0).all()
    alone = score(a.y, a.p, a.names, a.weights)
    width = found[found["metric"] == "ROC-AUC"].set_index("endpoint").eval("high - low")
    assert width["two"] < np.ptp(alone.auc_range[1])


def test_runs_of_equal_skill_are_seldom_told_apart():
    apart = sum(
        bool(compare(make_result(s, 200), make_result(s + 500, 200, run="b"), draws=200).table["distinguishable"].iloc[-1])
        for s in range(60)
    )
    assert apart <= 9  # 3 are expected of 60 at 95 %


def test_an_endpoint_without_positives_says_so_and_leaves_the_others_their_macro_mean():
    a, b = make_result(), make_result(1, run="b")
    for result in (a, b):
        result.y[:, 1] = np.where(np.isfinite(result.y[:, 1]), 0, np.nan)
    found = compare(a, b)
    ap = found.table[found.table["metric"] == "AP"].set_index("endpoint")
    assert np.isnan(ap.loc["two", "difference"]) and not ap.loc["two", "distinguishable"]
    assert ap.loc[MACRO, "difference"] == ap.loc["one", "difference"]
    assert "two: AP has no score in one of the runs" in found.lines()


def test_what_took_time_is_kept_under_its_key(tmp_path: Path):
    made = []

    def make() -> pd.DataFrame:
        made.append(1)
        return pd.DataFrame({"x": [len(made)]})

    first, again, other = (kept(tmp_path / "cache", key, make) for key in ("k", "k", "other"))
    assert first.equals(again) and other["x"].item() == 2 and len(made) == 2


def test_a_scoreboard_reads_back_what_it_scored_before(tmp_path: Path):
    results = [make_result(), make_result(1, run="b")]
    first = board(results, tmp_path)
    kept_before = sorted(tmp_path.iterdir())
    pd.testing.assert_frame_equal(board(results, tmp_path), first)
    assert sorted(tmp_path.iterdir()) == kept_before and len(kept_before) == 2
    assert first["weighted"].tolist() == [True, False] * 2
    np.testing.assert_allclose(first["ap"][:2], score(results[0].y, results[0].p, ("one", "two"), results[0].weights).ap)
    once, again = (compared(*results, tmp_path) for _ in range(2))
    assert once.lines() == again.lines() == compare(*results).lines()


def test_runs_of_different_numbers_of_folds_are_told_so(tmp_path: Path) -> None:
    table = table_of(make_result())
    for name, folds in (("two", 2), ("three", 3), ("none", 0)):
        (table.assign(fold=np.arange(len(table)) % folds) if folds else table).to_parquet(tmp_path / f"{name}.parquet")
    two, three, none = (read_result(tmp_path / f"{name}.parquet", name, OUT_OF_FOLD) for name in ("two", "three", "none"))
    said = "Different folds (2 and 3): part of the difference may be training size."
    assert fold_note(two, three) == said
    assert {fold_note(two, two), fold_note(two, none), fold_note(none, three)} == {""}
    fresh, kept_before = (compared(two, three, tmp_path / "cache") for _ in range(2))
    assert fresh.notes == kept_before.notes == (said,)
    assert said in fresh.lines() and said in score_report([two], [(two, three)], tmp_path / "cache")
    assert said not in score_report([two], [(two, none)], tmp_path / "cache")
