"""Baselines on a study's molecules and folds: nothing leaks, killed ones go on, and their runs are read as a study's."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from builders import make_bags
from milbench.baselines import runner
from milbench.baselines.config import BaselineConfig, ConformersConfig
from milbench.baselines.methods import Method
from milbench.baselines.networks import NetworkRun
from milbench.baselines.report import Report
from milbench.baselines.runner import run_methods
from milbench.baselines.table_models import FOREST, LIGHTGBM, SHALLOW, TableModel, plate_rates, predict_fold, scaled_features
from milbench.cli import main
from milbench.data.bags import BagData
from milbench.data.cv import MILCVData
from milbench.data.folds import stratified_folds
from milbench.data.results import OUT_OF_FOLD, read_result
from milbench.data.scoring import score
from milbench.data.store import save_store
from milbench.errors import ConfigError
from milbench.tasks import EUOS25
from predicting import CONFIG
from runs import FIX

NONE = np.empty(0, dtype=np.int64)
TABLE_MODELS = ("lightgbm", "shallow", "forest", "logistic")


def learnable(n: int = 240, missing: float = 0.05) -> BagData:
    """Molecules whose first endpoint hangs on a 2D feature, the second on the mean of their conformers."""
    bags = make_bags(n, sizes=np.tile([1, 2, 3], n // 3), missing=missing)
    bags.raw.y[:, 0] = bags.x2d[:, 0] > 4
    starts = bags.offsets[:-1].numpy()
    mean = np.add.reduceat(bags.xinst[:, 0].numpy(), starts) / bags.bag_sizes
    bags.raw.y[:, 1] = mean > 0
    return dataclasses.replace(bags, content=f"learnable {n}")


BAGS = learnable()
FOLD_OF = np.where(np.arange(240) < 210, stratified_folds(BAGS.raw.y, 3), -1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`BAGS` as a store with three folds and 30 leaderboard molecules; beside it plates.csv."""
    home = tmp_path_factory.mktemp("home")
    split = np.where(FOLD_OF >= 0, "train", "leaderboard").astype(object)
    bags = dataclasses.replace(BAGS, fold=FOLD_OF, split=split)
    plates = np.where(BAGS.raw.y[:, 3] == 1, "p1", "p2")
    pd.DataFrame({"ID": BAGS.ids, "plate": plates}).to_csv(home / "plates.csv", index=False)
    return save_store(home / "store", bags, EUOS25, provenance={"made_by": "the tests"})


def config(store: Path, out: Path, *methods: str, **changes: object) -> BaselineConfig:
    """Baselines of the smallest network, on the CPU."""
    few = {"fix": FIX, "max_epochs": 3, "nn_accelerator": "cpu", "threads": 1}
    return BaselineConfig(store, out, methods=methods, **{**few, **changes})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FOREST, "n_estimators", 30)
    monkeypatch.setitem(LIGHTGBM, "num_iterations", 50)
    monkeypatch.setitem(SHALLOW, "num_iterations", 100)


# nothing leaks


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", TABLE_MODELS)
def test_other_validation_and_leaderboard_molecules_cannot_change_a_prediction(name: str, pooled: bool) -> None:
    clean = MILCVData(BAGS, FOLD_OF, EUOS25).fold(0)
    model = TableModel(name, pooled, balanced=True, threads=1)
    wanted = predict_fold(model, clean, clean.val)
    rng = np.random.default_rng(0)
    victims = np.concatenate([clean.val[::2], np.flatnonzero(FOLD_OF < 0)])
    x2d, raw = BAGS.x2d.clone(), BAGS.raw.take(np.arange(len(BAGS)))
    x2d[victims] = torch.from_numpy(rng.normal(0, 1e6, (len(victims), x2d.shape[1])).astype(np.float32))
    xinst = BAGS.xinst.clone()
    xinst[np.isin(np.repeat(np.arange(len(BAGS)), BAGS.bag_sizes), victims)] = 1e6
    raw.y[np.concatenate([victims, clean.val])] = 1
    dirty = MILCVData(dataclasses.replace(BAGS, x2d=x2d, xinst=xinst, raw=raw), FOLD_OF, EUOS25).fold(0)
    found = predict_fold(model, dirty, dirty.val)
    assert np.array_equal(found[1::2], wanted[1::2])
    assert not np.array_equal(found[::2], wanted[::2])


def test_the_plate_tells_what_its_training_molecules_have_and_nothing_of_the_others() -> None:
    plate, y = np.array(["a", "a", "a", "b", "b", "c"]), np.array([[1], [1], [0], [0], [0], [1.0]])
    train, val = np.array([0, 1, 3]), np.array([2, 4, 5])
    rates = plate_rates(plate, y, train, val, prior=3.0)[:, 0]
    assert rates == pytest.approx([4 / 5, 2 / 4, 2 / 3])
    assert np.array_equal(
        plate_rates(plate, np.where(np.isin(np.arange(6), val)[:, None], 1 - y, y), train, val, 3.0)[:, 0], rates
    )


def test_an_epoch_that_training_molecules_choose_has_not_seen_the_scored_fold(tmp_path: Path) -> None:
    data = MILCVData(BAGS, FOLD_OF, EUOS25)
    network = NetworkRun(data, CONFIG, 2, 2, "inner")
    seen, fold = network._inner(data.fold(1)), data.fold(1)
    assert sorted([*seen.train, *seen.val]) == fold.train.tolist()
    assert 0.05 < len(seen.val) / len(fold.train) < 0.15
    labels = BAGS.raw.take(np.arange(len(BAGS)))
    labels.y[fold.val] = 1
    other = dataclasses.replace(network, data=MILCVData(dataclasses.replace(BAGS, raw=labels), FOLD_OF, EUOS25))
    assert np.array_equal(network.predict(1, NONE, tmp_path / "a")[0], other.predict(1, NONE, tmp_path / "b")[0])


# they learn, and are scored as a study is


@pytest.mark.parametrize("name", TABLE_MODELS)
@pytest.mark.parametrize("balanced", [False, True])
def test_a_table_model_finds_what_2d_features_tell(name: str, balanced: bool) -> None:
    fold = MILCVData(BAGS, FOLD_OF, EUOS25).fold(2)
    model = TableModel(name, balanced=balanced, threads=1)
    p = predict_fold(model, fold, fold.val)
    assert ((p >= 0) & (p <= 1)).all()
    assert score(BAGS.raw.y[fold.val], p, EUOS25.names).auc[0] > 0.9
    assert np.array_equal(p, predict_fold(model, fold, fold.val))
    features = scaled_features(fold, fold.train)
    assert features.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-5)


@pytest.mark.parametrize("name", TABLE_MODELS)
def test_with_conformers_it_finds_what_their_mean_tells_and_without_it_cannot(name: str) -> None:
    fold = MILCVData(BAGS, FOLD_OF, EUOS25).fold(2)
    auc = {}
    for pooled in (False, True):
        p = predict_fold(TableModel(name, pooled, threads=1), fold, fold.val)
        auc[pooled] = score(BAGS.raw.y[fold.val], p, EUOS25.names).auc[1]
    assert auc[True] > 0.85 > auc[False]
    offsets = torch.full_like(fold.bags.offsets, len(fold.bags.xinst))
    offsets[0] = 0  # the first molecule has all conformers
    bags = dataclasses.replace(fold.bags, offsets=offsets)
    features = scaled_features(dataclasses.replace(fold, bags=bags), np.array([1, 0, 5]), pooled=True)
    assert (features[[0, 2], 5:] == 0).all()
    assert (features[1, 5:] != 0).all()


def test_molecules_of_other_splits_are_predicted_by_every_folds_model(store: Path, tmp_path: Path) -> None:
    runs = run_methods(config(store, tmp_path, "logistic", "forest:2", "attention:1", "mlp2d", monitor="inner"))
    rows = FOLD_OF < 0
    data = MILCVData(BAGS, FOLD_OF, EUOS25)
    for run in runs:
        table = pd.read_parquet(tmp_path / run.method.folder / "held_out.parquet")
        assert table["ID"].tolist() == BAGS.ids[rows].tolist()
        assert table.columns.tolist() == ["ID", *(f"pred_{name}" for name in EUOS25.names), "split"]
        assert set(table["split"]) == {"leaderboard"}
        assert score(BAGS.raw.y[rows], table.iloc[:, 1:5].to_numpy(), EUOS25.names).auc[0] > 0.5
    own = [predict_fold(TableModel("logistic", threads=1), data.fold(k), np.flatnonzero(rows)) for k in range(3)]
    np.testing.assert_allclose(
        pd.read_parquet(tmp_path / "logistic" / "held_out.parquet").iloc[:, 1:5], np.mean(own, axis=0), rtol=1e-6
    )


def test_an_endpoint_without_positives_in_training_has_its_prevalence(caplog: pytest.LogCaptureFixture) -> None:
    raw = BAGS.raw.take(np.arange(len(BAGS)))
    fold = MILCVData(BAGS, FOLD_OF, EUOS25).fold(0)
    raw.y[fold.train, 3] = 0
    data = MILCVData(dataclasses.replace(BAGS, raw=raw), FOLD_OF, EUOS25)
    assert (predict_fold(TableModel("logistic", threads=1), data.fold(0), fold.val)[:, 3] == 0).all()
    assert "nothing is learned" in caplog.text


def test_runs_are_read_as_a_studys_and_go_on_where_they_were(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(store, tmp_path / "b", "logistic", "mlp2d", "attention:1", "plate", plates=store.parent / "plates.csv")
    honest, stopped = runner.write_json, []

    def stop(path: Path, value: object) -> None:
        if path.name == "1.json" and path.parent.parent.name == "mlp2d" and not stopped:
            stopped.append(path)
            raise KeyboardInterrupt
        honest(path, value)

    monkeypatch.setattr(runner, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        run_methods(asked)
    logistic = (tmp_path / "b" / "logistic" / "oof.parquet").stat().st_mtime_ns
    runs = run_methods(asked)
    assert (tmp_path / "b" / "logistic" / "oof.parquet").stat().st_mtime_ns == logistic
    whole = run_methods(dataclasses.replace(asked, out=tmp_path / "whole"))
    for run, other in zip(runs, whole, strict=True):
        result = read_result(tmp_path / "b" / run.method.folder / "oof.parquet", "x", OUT_OF_FOLD)
        assert sorted(result.ids) == sorted(BAGS.ids[FOLD_OF >= 0])
        assert np.array_equal(run.result.p, other.result.p)
        assert len(run.seconds) == 3
    assert not list((tmp_path / "b").rglob("*.training"))
    scores = Report(runs, tmp_path / ".cache").scores()
    assert scores.set_index(["run", "endpoint"]).loc[("logistic", "Transmittance_340"), "auc"] > 0.9
    said = Report(runs, tmp_path / ".cache").lines()
    assert any(line.startswith("warning: Fluorescence_more_than_480: who knows the plate alone") for line in said)


def test_other_settings_are_refused_in_a_folder_that_has_runs(store: Path, tmp_path: Path) -> None:
    run_methods(config(store, tmp_path, "logistic"))
    with pytest.raises(ConfigError, match=r"class_weights was 'none', now 'balanced'"):
        run_methods(config(store, tmp_path, "logistic", class_weights="balanced"))


def test_other_plates_are_other_settings(store: Path, tmp_path: Path) -> None:
    plates = pd.read_csv(store.parent / "plates.csv")
    run_methods(config(store, tmp_path / "b", "plate", plates=store.parent / "plates.csv"))
    plates.assign(plate=plates["plate"].to_numpy()[::-1]).to_csv(tmp_path / "others.csv", index=False)
    with pytest.raises(ConfigError, match="plates was"):
        run_methods(config(store, tmp_path / "b", "plate", plates=tmp_path / "others.csv"))


def test_conformers_have_one_command_and_one_figure(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--conformers", "2", "--max_epochs", "2", "--nn_accelerator", "cpu", "--fix", *FIX]
    assert main(["conformers", str(store), "--out", str(tmp_path), *flags]) == 0
    said = capsys.readouterr().out
    assert "against network, 2D alone" in said
    assert "network, task attention, 2 conformers" in said
    page = (tmp_path / "conformers.html").read_text()
    assert "Do conformers help?" in page
    table = pd.read_csv(tmp_path / "conformers.csv")
    assert table["run"].unique().tolist() == ["mlp2d", "attention_1", "mean_2", "max_2", "attention_2"]
    assert json.loads((tmp_path / "attention_1" / "baseline.json").read_text())["conformers"] == 1


@pytest.mark.parametrize("text", ["lightgmb", "plate:2", "mlp2d:1", "forest:0", "mean:0", "mean:x"])
def test_a_method_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--methods"):
        Method.of(text)


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--plates"):
        BaselineConfig(tmp_path, tmp_path, methods=("plate",))
    with pytest.raises(ConfigError, match="--poolings"):
        ConformersConfig(tmp_path, tmp_path, poolings=("median",))
    with pytest.raises(ConfigError, match="--conformers"):
        ConformersConfig(tmp_path, tmp_path, conformers=1)
