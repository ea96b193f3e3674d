"""The demo from end to end: it runs, repeats itself, and keeps to its folder."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from milbench.data.attention import key_hits
from milbench.demo import run_demo
from milbench.errors import ConfigError, DataError
from milbench.predict import predict
from milbench.predict_config import PredictConfig
from milbench.run_config import FINAL_FOLDER
from milbench.tasks import EUOS25, Endpoint, TaskSet
from runs import finished

ONE = TaskSet("one", (Endpoint("glow"),))


def conformers(key: list[bool]) -> pd.DataFrame:
    return pd.DataFrame({"key_glow": key})


def test_a_hit_is_a_most_attended_key_conformer() -> None:
    bag = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    key = conformers([False, True, False, True, False, True, False, False])
    attention = np.array([[0.2], [0.5], [0.3], [0.4], [0.6], [1.0], [0.9], [0.1]])
    hits = key_hits(key, attention, bag, ONE.names)
    assert hits["hit"].tolist() == [True, False]  # a single conformer proves nothing, a negative has no key
    np.testing.assert_allclose(hits["chance"], [1 / 3, 1 / 2])


def test_attention_at_random_hits_as_often_as_chance() -> None:
    rng = np.random.default_rng(0)
    bag = np.repeat(np.arange(2000), 4)
    key = conformers((np.arange(8000) % 4 == 1).tolist())
    hits = key_hits(key, rng.random((8000, 1)), bag, ONE.names)
    assert hits["hit"].mean() == pytest.approx(hits["chance"].mean(), abs=0.04)


def test_a_demo_that_cannot_be_made_leaves_its_folder_free(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="demo molecules: got 5, want at least 10"):
        run_demo(tmp_path, molecules=5)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="--trials: got 0"):
        run_demo(tmp_path / "new", trials=0)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_another_demo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"molecules": 600, "seed": 0}))
    for other in ({"molecules": 40}, {"seed": 1}):
        with pytest.raises(DataError, match=r"holds a demo with other settings.*; choose another --out"):
            run_demo(tmp_path, **other)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(out, molecules=40, trials=1, workers=1)


@pytest.mark.slow
def test_the_demo_reports_every_endpoint_and_says_that_they_are_simulated(demo: tuple[Path, list[str]]) -> None:
    out, lines = demo
    text = "\n".join(lines)
    for name in EUOS25.names:
        assert text.count(name) == 2  # monitored and leaderboard
    assert "prevalence" in text
    assert "times chance" in text
    assert "All endpoints of this demo are simulated; the molecules are real." in text
    assert "nan" not in text
    assert str(out / "study") in text
    assert "milbench run --labels" in text
    assert [state for state, _, _ in finished(out / "study")] == [TrialState.COMPLETE]


@pytest.mark.slow
def test_the_demo_twice_gives_the_same_lines(demo: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, lines = demo
    again = run_demo(tmp_path, molecules=40, trials=1, workers=2)
    assert [line.replace(str(tmp_path), str(out)) for line in again] == lines


@pytest.mark.slow
def test_the_demo_run_again_in_its_folder_only_reads(demo: tuple[Path, list[str]]) -> None:
    out, lines = demo
    before = {path: path.stat().st_mtime_ns for path in (out / "store").rglob("*")}
    assert run_demo(out, molecules=40, trials=1, workers=1) == lines
    assert {path: path.stat().st_mtime_ns for path in (out / "store").rglob("*")} == before
    assert len(finished(out / "study")) == 1


@pytest.mark.slow
def test_the_demos_model_predicts_new_smiles_and_its_card_says_that_they_are_simulated(
    demo: tuple[Path, list[str]], tmp_path: Path
) -> None:
    out, _ = demo
    (tmp_path / "new.smi").write_text("c1ccc(-c2ccccc2)cc1 biphenyl\nCCO ethanol\n")
    predict(PredictConfig(out / "study", tmp_path / "new.smi", tmp_path / "p.csv", processes=1, nn_accelerator="cpu"))
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["ID"].tolist() == ["biphenyl", "ethanol"]
    assert table[[f"pred_{name}" for name in EUOS25.names]].notna().all(axis=None)
    assert "**The endpoints are simulated.**" in (out / "study" / FINAL_FOLDER / "model_card.md").read_text()
