"""`milbench score` on tables of predictions: averaged, compared, with and without some plates."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from milbench import progress
from milbench.data.averaging import cross_fitted
from milbench.data.comparison import compare
from milbench.data.results import read_result, result_table
from milbench.data.scoring import score
from milbench.errors import ConfigError, DataError
from milbench.files import read_json
from milbench.score_command import ScoreConfig, run_score
from results import make_result

TASKS = '{"name": "two", "endpoints": [{"name": "one", "weight": "w", "ap_weighted": true}, {"name": "two"}]}'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """a.parquet and b.parquet, runs of the same 200 molecules; plates.csv; tasks.json."""
    (tmp_path / "tasks.json").write_text(TASKS)
    for name, seed, skill in (("a", 0, 0.5), ("b", 1, 3.0)):
        result_table(make_result(seed, 200, name, skill)).to_parquet(tmp_path / f"{name}.parquet")
    ids = make_result(n=200).ids
    pd.DataFrame({"ID": ids, "plate": np.arange(200) // 20}).to_csv(tmp_path / "plates.csv", index=False)
    return tmp_path


def asked(home: Path, **changes) -> ScoreConfig:
    return ScoreConfig(home / "a.parquet", tasks=str(home / "tasks.json"), draws=200, json=home / "s.json", **changes)


def test_the_macro_mean_has_an_interval_in_which_it_lies(home: Path) -> None:
    lines, _ = run_score(asked(home))
    found = read_json(home / "s.json")
    macro, tasks = found["macro_ap"], found["tasks"]
    assert macro["low"] < macro["value"] < macro["high"]
    assert macro["value"] == pytest.approx((tasks["one"]["ap"] + tasks["two"]["ap"]) / 2)
    assert any(line.startswith(f"macro AP {macro['value']:.3f} [{macro['low']:.3f}, ") for line in lines)


def test_the_bootstrap_says_how_far_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "listeners", [lambda *heard: told.append(heard)])
    run_score(asked(home, against=home / "b.parquet"))
    assert [done for title, done, total in told if (title, total) == ("bootstrap", 800)] == [0, 200, 400, 600, 800]
    assert [done for title, done, total in told if (title, total) == ("comparison", 800)] == [0, 200, 400, 600, 800]
    assert len(told) == 10


def test_the_interval_of_the_macro_mean_is_that_of_molecules_drawn_together() -> None:
    result, rng = make_result(n=150, missing=0.0), np.random.default_rng(0)
    found = score(result.y, result.p, result.names, draws=2000).macro[0]
    drawn = [score_once(result, rng.integers(0, 150, 150)) for _ in range(2000)]
    assert found[1:] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


def score_once(result, rows: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(np.mean([average_precision_score(result.y[rows, t], result.p[rows, t]) for t in range(2)]))


def test_predictions_are_averaged_and_kept(home: Path) -> None:
    run_score(asked(home, also=(home / "b.parquet",), out=home / "mean.parquet"))
    a, b, mean = (read_result(home / f"{name}.parquet", name, "x") for name in ("a", "b", "mean"))
    assert np.allclose(mean.p, (a.p + b.p) / 2)
    assert mean.ids.tolist() == a.ids.tolist()
    assert np.array_equal(mean.weights, a.weights, equal_nan=True)


def test_logits_are_averaged_where_asked_for(home: Path) -> None:
    lines, _ = run_score(
        asked(home, also=(home / "b.parquet",), average="logit", out=home / "mean.parquet", against=home / "a.parquet")
    )
    a, b, mean = (read_result(home / f"{name}.parquet", name, "x") for name in ("a", "b", "mean"))
    odds = np.sqrt(a.p / (1 - a.p) * b.p / (1 - b.p))
    assert np.allclose(mean.p, odds / (1 + odds))
    assert any(line.startswith("the mean logit of 2") for line in lines)


def test_a_stack_is_fitted_on_the_other_folds(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in ("a", "b"):
        path = home / f"{name}.parquet"
        pd.read_parquet(path).assign(fold=np.arange(200) % 5).to_parquet(path)
    given = {"also": (home / "b.parquet",), "average": "stack", "against": home / "b.parquet"}
    lines, _ = run_score(asked(home, **given, out=home / "stack.parquet"))
    a, b, stack = (read_result(home / f"{name}.parquet", name, "x") for name in ("a", "b", "stack"))
    wanted, plain = cross_fitted([a.p, b.p], a.y, np.arange(200) % 5)
    assert np.allclose(stack.p, wanted)
    assert stack.fold is not None and stack.fold.tolist() == (np.arange(200) % 5).tolist()
    assert any(line.startswith("the stack of 2") for line in lines)
    few = ", ".join(a.names[t] for t in plain)  # once for all folds
    said = f"stack: {few}: its mean logit, for the rarer class has less than 10 molecules a weight"
    assert [line for line in caplog.messages if line.startswith("stack: ")] == [said] * bool(plain)
    run_score(ScoreConfig(home / "stack.parquet", tasks=str(home / "tasks.json"), draws=200, average="stack"))  # and of one


def test_a_stack_needs_the_same_folds(home: Path) -> None:
    for folds in ({}, {"b": 3}, {"a": 5, "b": 3}, {"a": 1, "b": 1}):
        for name, count in folds.items():
            path = home / f"{name}.parquet"
            pd.read_parquet(path).assign(fold=np.arange(200) % count).to_parquet(path)
        with pytest.raises(DataError, match="are not all out of the same two or more folds"):
            run_score(asked(home, also=(home / "b.parquet",), average="stack"))


def test_two_runs_are_compared_on_the_same_molecules(home: Path) -> None:
    lines, _ = run_score(asked(home, against=home / "b.parquet"))
    a, b = (read_result(home / f"{name}.parquet", name, "x") for name in ("a", "b"))
    wanted = compare(b, a, draws=200).table
    assert pd.DataFrame(read_json(home / "s.json")["against"])["low"].tolist() == pytest.approx(wanted["low"].tolist())
    assert any(line.startswith("macro mean: AP -") for line in lines)


def test_out_of_fold_predictions_of_different_numbers_of_folds_are_told_so(home: Path) -> None:
    for name, folds in (("a", 5), ("b", 3)):
        path = home / f"{name}.parquet"
        pd.read_parquet(path).assign(fold=np.arange(200) % folds).to_parquet(path)
    lines, _ = run_score(asked(home, against=home / "b.parquet"))
    assert "Different folds (3 and 5): part of the difference may be training size." in lines


def test_scores_without_some_plates_stand_beside_those_with_them(home: Path) -> None:
    lines, _ = run_score(asked(home, without=("3", "7"), groups=home / "plates.csv"))
    found, result = read_json(home / "s.json"), make_result(0, 200, "a", 0.5)
    rest = result.take(np.flatnonzero(~np.isin(np.arange(200) // 20, (3, 7))))
    assert found["without"]["tasks"]["two"]["ap"] == pytest.approx(score(rest.y, rest.p, rest.names, draws=100).ap[1])
    assert found["tasks"]["two"]["n"] > found["without"]["tasks"]["two"]["n"]
    assert "Without the 40 molecules of plate 3, 7:" in lines


def test_another_run_is_compared_without_those_plates_too_and_a_mean_is_called_one(home: Path) -> None:
    given = {"without": ("3", "7"), "groups": home / "plates.csv", "against": home / "b.parquet"}
    lines, _ = run_score(asked(home, also=(home / "b.parquet",), **given))
    assert sum("the mean of 2, " in line for line in lines) == 2
    assert not any("left out" in line for line in lines)
    rest = ~np.isin(np.arange(200) // 20, (3, 7))
    a, b = (read_result(home / f"{name}.parquet", name, "x").take(np.flatnonzero(rest)) for name in ("a", "b"))
    wanted = compare(b, dataclasses.replace(a, p=(a.p + b.p) / 2), draws=200).table
    found = pd.DataFrame(read_json(home / "s.json")["without"]["against"])
    assert found["low"].tolist() == pytest.approx(wanted["low"].tolist())


def test_what_cannot_be_scored_is_one_line(home: Path) -> None:
    with pytest.raises(ConfigError, match="--groups"):
        asked(home, without=("3",))
    with pytest.raises(ConfigError, match="no molecule has this plate"):
        run_score(asked(home, without=("3", "99"), groups=home / "plates.csv"))
    table = pd.read_parquet(home / "b.parquet")
    table.assign(ID="x" + table["ID"]).to_parquet(home / "b.parquet")
    with pytest.raises(DataError, match="shares no molecule"):
        run_score(asked(home, also=(home / "b.parquet",)))
