"""The final model: the leaderboard is read once, by the report alone; what is saved predicts what was reported."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from builders import make_bags
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.bags import BagData
from milbench.data.folds import stratified_folds
from milbench.errors import DataError
from milbench.metrics import evaluate
from milbench.report import final_lines
from milbench.run_config import FINAL_FOLDER, FinalTrainConfig
from milbench.tasks import EUOS25
from milbench.training.checkpoint import load_checkpoint
from milbench.training.final import MILFinalData, MILFinalTrainer
from milbench.training.fold import Epoch
from runs import PINS, same_weights

CPU = RuntimeConfig(accelerator="cpu")
CONFIG = HPOConfig.from_params(PINS, EUOS25, runtime=CPU)


def bags_with_leaderboard(n: int = 90, leaderboard: int = 30) -> BagData:
    bags = make_bags(n)
    bags.split[n - leaderboard :] = "leaderboard"
    return dataclasses.replace(bags, content="made up")


def final_data(bags: BagData, leaderboard: bool = True) -> MILFinalData:
    train = bags.split == "train"
    fold_of = np.full(len(bags), -1, dtype=np.int64)
    fold_of[train] = stratified_folds(bags.raw.y[train], 3)
    return MILFinalData(bags, EUOS25, fold_of, np.flatnonzero(~train) if leaderboard else np.array([], dtype=np.int64))


def train(folder: Path, data: MILFinalData, hook: Any = None, **changes: Any) -> dict[str, Any]:
    final = FinalTrainConfig(**{"max_epochs": 4, "runtime": CPU, **changes})
    return MILFinalTrainer(data, CONFIG, final, folder).run(hook)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / FINAL_FOLDER / "best_model.ckpt", weights_only=True)["state_dict"]


def test_random_leaderboard_labels_change_nothing_but_the_report(tmp_path: Path) -> None:
    honest, random = bags_with_leaderboard(), bags_with_leaderboard()
    there = random.split == "leaderboard"
    random.raw.y[there] = np.random.default_rng(9).integers(0, 2, (there.sum(), 4))
    random.raw.w[there] = np.random.default_rng(9).uniform(0.1, 9, (there.sum(), 4))
    a, b = train(tmp_path / "a", final_data(honest)), train(tmp_path / "b", final_data(random))
    assert same_weights(state(tmp_path / "a"), state(tmp_path / "b"))
    assert (a["best_epoch"], a["epochs"], a["monitored"]) == (b["best_epoch"], b["epochs"], b["monitored"])
    assert a["leaderboard"] != b["leaderboard"]


def test_leaderboard_features_do_not_reach_the_scaling(tmp_path: Path) -> None:
    plain, shifted = bags_with_leaderboard(), bags_with_leaderboard()
    shifted.x2d[60:] += 1e6
    shifted.xinst[int(shifted.offsets[60]) :] *= 1e3
    train(tmp_path / "a", final_data(plain))
    train(tmp_path / "b", final_data(shifted))
    assert same_weights(state(tmp_path / "a"), state(tmp_path / "b"))


def test_the_training_is_monitored_by_an_inner_fold_of_the_training_split() -> None:
    data = final_data(bags_with_leaderboard())
    fold = data.fold("inner")
    assert not set(fold.train) & set(fold.val)
    assert set(fold.train) | set(fold.val) == set(range(60))
    assert set(fold.val) == set(np.flatnonzero(data.fold_of == 0))


def test_monitoring_the_leaderboard_trains_on_all_and_marks_the_report(tmp_path: Path) -> None:
    data = final_data(bags_with_leaderboard())
    fold = data.fold("leaderboard")
    assert set(fold.train) == set(range(60))
    assert set(fold.val) == set(range(60, 90))
    report = train(tmp_path, data, monitor="leaderboard")
    assert report["monitor"] == "leaderboard"
    assert "optimistic" in report["note"]
    assert json.loads((tmp_path / FINAL_FOLDER / "leaderboard_eval.json").read_text())["note"] == report["note"]
    assert report["leaderboard"]["macro_ap"] == pytest.approx(report["monitored"]["macro_ap"])
    assert not train(tmp_path / "inner", data)["note"]


def test_without_a_leaderboard_the_model_is_saved_and_nothing_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "milbench"):
        report = train(tmp_path, final_data(bags_with_leaderboard(), leaderboard=False))
    assert report["leaderboard"] is None
    assert report["attention"] is None
    assert "no molecule of split 'leaderboard': the final model is saved, nothing is reported" in caplog.text
    assert sorted(path.name for path in (tmp_path / FINAL_FOLDER).iterdir()) == [
        "best_model.ckpt",
        "leaderboard_eval.json",
        "model.json",
        "model_card.md",
    ]


def test_the_checkpoint_predicts_what_was_reported(tmp_path: Path) -> None:
    data = final_data(bags_with_leaderboard())
    report = train(tmp_path, data)
    trained = load_checkpoint(tmp_path / FINAL_FOLDER / "best_model.ckpt")
    assert not trained.model.training
    predictions = trained.evaluator(data.bags).predict(data.leaderboard)
    table = pd.read_parquet(tmp_path / FINAL_FOLDER / "leaderboard_predictions.parquet")
    assert table["ID"].tolist() == data.bags.ids[data.leaderboard].tolist()
    np.testing.assert_array_equal(table[[f"pred_{name}" for name in EUOS25.names]], predictions.probability)
    raw = data.bags.raw
    again = evaluate(raw.y[data.leaderboard], predictions.probability, raw.w[data.leaderboard], EUOS25)
    assert again.to_dict() == report["leaderboard"]
    attention = pd.read_parquet(report["attention"])
    np.testing.assert_array_equal(attention[[f"attn_{name}" for name in EUOS25.names]], predictions.attention)
    assert trained.info["params"] == CONFIG.to_params(EUOS25)
    assert trained.info["best_epoch"] == report["best_epoch"]
    assert trained.info["data"] == "made up"
    assert trained.tasks == EUOS25


def test_a_prescaled_model_is_read_back_without_scaling(tmp_path: Path) -> None:
    data = dataclasses.replace(final_data(bags_with_leaderboard()), prescaled=True)
    train(tmp_path, data)
    trained = load_checkpoint(tmp_path / FINAL_FOLDER / "best_model.ckpt")
    assert trained.scale2d is None
    assert trained.scale_inst is None
    predicted = trained.evaluator(data.bags).predict(data.leaderboard).probability
    table = pd.read_parquet(tmp_path / FINAL_FOLDER / "leaderboard_predictions.parquet")
    np.testing.assert_array_equal(table[[f"pred_{name}" for name in EUOS25.names]], predicted)


def test_a_model_is_not_used_on_other_features(tmp_path: Path) -> None:
    data = final_data(bags_with_leaderboard())
    train(tmp_path, data, max_epochs=1)
    trained = load_checkpoint(tmp_path / FINAL_FOLDER / "best_model.ckpt")
    renamed = dataclasses.replace(data.bags, names2d=tuple(f"other_{name}" for name in data.bags.names2d))
    with pytest.raises(DataError, match="lacks 5 of the 5 2D features that the model was trained on"):
        trained.evaluator(renamed)


def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    torch.save({"format": 0}, tmp_path / "other.ckpt")
    torch.save(Path, tmp_path / "pickled.ckpt")
    train(tmp_path, final_data(bags_with_leaderboard()), max_epochs=1)
    whole = (tmp_path / FINAL_FOLDER / "best_model.ckpt").read_bytes()
    (tmp_path / "torn.ckpt").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "other", "pickled", "torn", "missing"):
        with pytest.raises(DataError, match=rf"{name}\.ckpt: ") as caught:
            load_checkpoint(tmp_path / f"{name}.ckpt")
        assert "\n" not in str(caught.value)


def test_a_leaderboard_that_cannot_be_predicted_is_told_before_anything_is_trained_or_opened(tmp_path: Path) -> None:
    data = final_data(bags_with_leaderboard())
    data.bags.x2d[70, 1] = torch.nan
    epochs: list[Epoch] = []
    with pytest.raises(DataError, match="leaderboard, column d1: NaN or inf in molecule M70"):
        train(tmp_path, data, lambda _, epoch: epochs.append(epoch))
    assert not epochs
    assert not list(tmp_path.iterdir())


def test_a_finished_final_model_is_read_back_not_trained_again(tmp_path: Path) -> None:
    data = final_data(bags_with_leaderboard())
    first = train(tmp_path, data)
    epochs: list[Epoch] = []
    again = train(tmp_path, data, lambda _, epoch: epochs.append(epoch))
    assert not epochs
    assert again.keys() == first.keys()
    assert again["fingerprint"] == first["fingerprint"]


@pytest.mark.parametrize(
    "again", [{"attn_out": "a.csv"}, {"runtime": RuntimeConfig(accelerator="cpu", num_workers=1)}, {"max_epochs": 5}], ids=str
)
def test_the_same_weights_are_the_same_model_to_the_leaderboard(tmp_path: Path, again: dict[str, Any]) -> None:
    data = final_data(bags_with_leaderboard())
    first = train(tmp_path, data)
    weights = state(tmp_path)
    if "attn_out" in again:
        again = {"attn_out": tmp_path / again["attn_out"]}
    second = train(tmp_path, data, **again)
    assert second["fingerprint"] != first["fingerprint"]
    assert same_weights(state(tmp_path), weights)
    assert second["opened"] == 1


OF_ALL = ("all_attn.parquet", "all_predictions.parquet", "all_predictions.about.json", "all_predictions.left_out.csv")


@pytest.mark.parametrize("change", ["epochs", "data", "no leaderboard", "ensemble", "fewer"])
def test_another_model_leaves_nothing_of_the_last_one_to_be_shown_as_its_own(tmp_path: Path, change: str) -> None:
    data, folder = final_data(bags_with_leaderboard()), tmp_path / FINAL_FOLDER
    before = {"max_epochs": 1} | ({"ensemble": 3} if change == "fewer" else {})
    train(tmp_path, data, **before)
    for name in OF_ALL:
        (folder / name).write_text("of the model before")
    (folder / "all_predictions.parquet.work").mkdir()
    train(tmp_path, data, **before)
    assert {path.name for path in folder.iterdir()} >= {*OF_ALL, "all_predictions.parquet.work"}
    if change == "data":
        data = dataclasses.replace(data, bags=dataclasses.replace(data.bags, content="another hash"))
    elif change == "no leaderboard":
        data = dataclasses.replace(data, leaderboard=data.leaderboard[:0])

    def stopped(*_: object) -> None:
        left = {path.name for path in folder.iterdir()}
        assert not left & {*OF_ALL, "all_predictions.parquet.work", "leaderboard_eval.json", "model_card.md"}

    changes = {"epochs": {"max_epochs": 2}, "ensemble": {"ensemble": 2}, "fewer": {"ensemble": 2}}
    train(tmp_path, data, stopped, **{"max_epochs": 1, **changes.get(change, {})})
    left = {path.name for path in folder.iterdir()}
    assert not {name for name in left if name.startswith("all_")}
    assert ("leaderboard_predictions.parquet" in left) == (change != "no leaderboard")
    assert ("leaderboard_attn.parquet" in left) == ("leaderboard_per_task.csv" in left) == (change != "no leaderboard")


@pytest.mark.parametrize("gone", ["leaderboard_attn.parquet", "leaderboard_predictions.parquet", "leaderboard_per_task.csv"])
def test_a_table_that_was_deleted_is_made_again_without_training(tmp_path: Path, gone: str) -> None:
    data, folder = final_data(bags_with_leaderboard()), tmp_path / FINAL_FOLDER
    first = train(tmp_path, data, max_epochs=1)
    before = (folder / gone).read_bytes()
    (folder / gone).unlink()
    (folder / "all_attn.parquet").write_text("of this model")
    epochs: list[Epoch] = []
    assert train(tmp_path, data, lambda _, epoch: epochs.append(epoch), max_epochs=1) == first
    assert not epochs
    assert (folder / gone).read_bytes() == before
    assert (folder / "all_attn.parquet").is_file()


@pytest.mark.parametrize("change", ["epochs", "data", "folds", "checkpoint gone"])
def test_a_final_model_of_other_inputs_is_trained_again(tmp_path: Path, change: str) -> None:
    data = final_data(bags_with_leaderboard())
    train(tmp_path, data, max_epochs=1)
    epochs: list[Epoch] = []
    if change == "data":
        data = dataclasses.replace(data, bags=dataclasses.replace(data.bags, content="another hash"))
    elif change == "folds":
        data = dataclasses.replace(data, fold_of=np.where(data.fold_of < 0, -1, (data.fold_of + 1) % 3))
    elif change == "checkpoint gone":
        (tmp_path / FINAL_FOLDER / "best_model.ckpt").unlink()
    train(tmp_path, data, lambda _, epoch: epochs.append(epoch), max_epochs=2 if change == "epochs" else 1)
    assert epochs
    assert (tmp_path / FINAL_FOLDER / "best_model.ckpt").is_file()


def test_a_leaderboard_task_without_positives_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bags = bags_with_leaderboard()
    bags.raw.y[bags.split == "leaderboard", 3] = 0
    with caplog.at_level(logging.WARNING, "milbench"):
        report = train(tmp_path, final_data(bags), max_epochs=1)
    assert "leaderboard: no positive of Fluorescence_more_than_480" in caplog.text
    stored = json.loads((tmp_path / FINAL_FOLDER / "leaderboard_eval.json").read_text())["leaderboard"]["tasks"]
    assert stored["Fluorescence_more_than_480"]["ap"] is None
    assert np.isfinite(report["leaderboard"]["macro_ap"])


def test_the_per_task_table_holds_what_the_report_says(tmp_path: Path) -> None:
    report = train(tmp_path, final_data(bags_with_leaderboard()), max_epochs=1)
    table = pd.read_csv(tmp_path / FINAL_FOLDER / "leaderboard_per_task.csv").set_index("task")
    for name, scores in report["leaderboard"]["tasks"].items():
        assert table.loc[name, "ap"] == pytest.approx(scores["ap"])
        assert table.loc[name, "roc_auc"] == pytest.approx(scores["auc"])
        assert table.loc[name, "prevalence"] == pytest.approx(scores["prevalence"])
        assert table.loc[name, "n"] == 30


def test_the_leaderboard_says_for_how_many_models_it_was_opened(tmp_path: Path) -> None:
    data = final_data(bags_with_leaderboard())
    assert train(tmp_path, data)["opened"] == 1
    assert train(tmp_path, data)["opened"] == 1
    report = train(tmp_path, data, max_epochs=1)
    assert report["opened"] == 2
    assert "opened for 2 models" in "\n".join(final_lines(report, tmp_path))
    assert "opened for 2 models" in (tmp_path / FINAL_FOLDER / "model_card.md").read_text()
