"""Tables in, a tuned and final model out: the whole path, its artifacts, and running it again."""

import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from builders import TINY, make_tasks
from milbench import pipeline
from milbench.configs import HPOConfig
from milbench.data.assemble import load_tables
from milbench.data.store import save_store
from milbench.errors import ConfigError, DataError, MilbenchError, StudyError
from milbench.files import write_json
from milbench.metrics import evaluate
from milbench.pipeline import MILPipelineOrchestrator, PipelineConfigFactory, check_inputs
from milbench.run_config import FINAL_FOLDER, PipelineConfig
from milbench.tasks import EUOS25, TaskSet
from milbench.testing import SyntheticTables, make_tables
from milbench.training.checkpoint import load_checkpoint
from runs import (
    BEST_PARAMS,
    CHECKPOINT,
    PINS,
    arguments,
    best_params,
    config_for,
    finished,
    same_weights,
    trials_of,
    weights,
)


def run(config: PipelineConfig) -> dict[str, Any]:
    return MILPipelineOrchestrator(config).run()


def final(study_dir: Path, name: str) -> Path:
    return study_dir / FINAL_FOLDER / name


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> SyntheticTables:
    return make_tables(tmp_path_factory.mktemp("tables"), 90)


@pytest.fixture(scope="module")
def whole(tables: SyntheticTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study folder of one uninterrupted run; tests read it only."""
    folder = tmp_path_factory.mktemp("whole")
    run(config_for(tables, folder))
    return folder


@pytest.mark.parametrize(
    ("n_tasks", "n_abs", "n_fluo"), [(1, 0, 0), (1, 2, 1), (3, 0, 2), (3, 1, 0), (7, 0, 0), (7, 2, 3)], ids=str
)
def test_any_endpoints_go_the_whole_way_with_and_without_auxiliaries(
    tmp_path: Path, n_tasks: int, n_abs: int, n_fluo: int
) -> None:
    tasks = make_tasks(n_tasks, n_abs, n_fluo)
    write_json(tmp_path / "tasks.json", tasks.to_dict())
    tables = make_tables(tmp_path / "tables", 70, tasks, aux_missing=0.2)
    report = run(config_for(tables, tmp_path / "study", tasks=str(tmp_path / "tasks.json"), trials=1, max_epochs=2))
    assert tuple(report["leaderboard"]["tasks"]) == tasks.names
    attention = pd.read_parquet(report["attention"])
    leaderboard = pd.read_parquet(tables.labels).query("split == 'leaderboard'")["ID"]
    sums = attention.groupby("ID")[[f"attn_{name}" for name in tasks.names]].sum()
    assert set(sums.index) == set(leaderboard)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    predictor = load_checkpoint(tmp_path / "study" / CHECKPOINT).model.config.predictor
    assert (predictor.n_tasks, predictor.n_abs, predictor.n_fluo) == (n_tasks, n_abs, n_fluo)


def test_a_run_leaves_every_artifact_under_the_seeds_name(whole: Path) -> None:
    assert {path.name for path in whole.iterdir() if not path.name.startswith("study.db-")} == {
        "final_best_train_vs_leaderboard",
        "leaderboard_openings.jsonl",
        "log.txt",
        "metrics.jsonl",
        "multimodal_mil_aux_gpu_best_fold_metrics.json",
        "multimodal_mil_aux_gpu_best_params.json",
        "multimodal_mil_aux_gpu_trials.csv",
        "oof.parquet",
        "run_meta.json",
        "status.json",
        "study.db",
        "workers",
    }
    assert {path.name for path in (whole / FINAL_FOLDER).iterdir()} == {
        "best_model.ckpt",
        "leaderboard_attn.parquet",
        "leaderboard_eval.json",
        "leaderboard_per_task.csv",
        "leaderboard_predictions.parquet",
        "model.json",
        "model_card.md",
    }
    assert json.loads((whole / "status.json").read_text())["state"] == "done"


def test_run_meta_says_with_what_on_what_and_how(whole: Path, tables: SyntheticTables) -> None:
    meta = json.loads((whole / "run_meta.json").read_text())
    assert {"milbench", "python", "torch", "lightning", "optuna", "numpy", "pandas"} <= meta["versions"].keys()
    assert meta["versions"]["torch"] == torch.__version__.split("+")[0] or meta["versions"]["torch"] == torch.__version__
    assert meta["hardware"]["cores"] >= 1
    assert meta["hardware"]["gpus"] == [] or isinstance(meta["hardware"]["gpus"][0], str)
    assert meta["seed"] == 0
    assert meta["arguments"]["labels"] == str(tables.labels)
    assert meta["arguments"]["fix"] == [f"{name}={value}" for name, value in PINS.items()]
    bags = load_tables(tables.labels, tables.feat2d, tables.instances, EUOS25)
    assert meta["data"] == bags.content


def test_the_data_hash_follows_the_data(whole: Path, tables: SyntheticTables, tmp_path: Path) -> None:
    frame = pd.read_parquet(tables.feat2d)
    frame.iloc[3, 2] += 0.001
    frame.to_parquet(tmp_path / "feat2d.parquet")
    bags = load_tables(tables.labels, tmp_path / "feat2d.parquet", tables.instances, EUOS25)
    assert json.loads((whole / "run_meta.json").read_text())["data"] != bags.content


def test_every_epoch_is_in_the_metrics_file(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    places = [(line["trial"], line["fold"], line["epoch"]) for line in lines]
    assert places == [(t, k, e) for t in (0, 1) for k in (0, 1) for e in range(3)] + [("final", "final", e) for e in range(3)]
    assert all(0 <= line["val_macro_ap"] <= 1 and line["train_loss"] > 0 for line in lines)


def test_the_study_keeps_the_leaderboard_out(whole: Path, tables: SyntheticTables) -> None:
    labels = pd.read_parquet(tables.labels).set_index("ID")
    oof = pd.read_parquet(whole / "oof.parquet")
    assert set(oof["ID"]) == set(labels.index[labels["split"] == "train"])
    predictions = pd.read_parquet(final(whole, "leaderboard_predictions.parquet"))
    assert set(predictions["ID"]) == set(labels.index[labels["split"] == "leaderboard"])


def test_the_report_can_be_recomputed_from_the_predictions_and_the_users_table(whole: Path, tables: SyntheticTables) -> None:
    labels = pd.read_parquet(tables.labels).set_index("ID")
    predictions = pd.read_parquet(final(whole, "leaderboard_predictions.parquet")).set_index("ID")
    truth = labels.loc[predictions.index]
    scores = evaluate(
        truth[list(EUOS25.names)].to_numpy(float),
        predictions[[f"pred_{name}" for name in EUOS25.names]].to_numpy(),
        truth[[str(endpoint.weight) for endpoint in EUOS25.endpoints]].to_numpy(np.float32),
        EUOS25,
    )
    report = json.loads(final(whole, "leaderboard_eval.json").read_text())["leaderboard"]
    for t, name in enumerate(EUOS25.names):
        assert report["tasks"][name]["ap"] == pytest.approx(scores.ap[t], abs=1e-6)
        assert report["tasks"][name]["auc"] == pytest.approx(scores.auc[t], abs=1e-6)


def test_the_same_command_twice_in_other_folders_gives_the_same_model(
    whole: Path, tables: SyntheticTables, tmp_path: Path
) -> None:
    torch.manual_seed(77)
    run(config_for(tables, tmp_path))
    assert finished(tmp_path) == finished(whole)
    assert best_params(tmp_path) == best_params(whole)
    assert same_weights(weights(tmp_path), weights(whole))


def test_a_run_in_two_halves_ends_as_the_uninterrupted_one(whole: Path, tables: SyntheticTables, tmp_path: Path) -> None:
    run(config_for(tables, tmp_path, trials=1))
    run(config_for(tables, tmp_path, trials=2))
    assert finished(tmp_path) == finished(whole)
    assert best_params(tmp_path) == best_params(whole)
    assert same_weights(weights(tmp_path), weights(whole))


@pytest.mark.parametrize("members", [1, 2])
def test_a_finished_run_started_again_trains_nothing_opens_no_leaderboard_and_says_so_in_one_line(
    tables: SyntheticTables, tmp_path: Path, caplog: pytest.LogCaptureFixture, members: int
) -> None:
    config = config_for(tables, tmp_path, trials=1, max_epochs=2, ensemble=members)

    def there() -> dict[Path, int]:
        left = [*(tmp_path / FINAL_FOLDER).rglob("*"), tmp_path / "metrics.jsonl", tmp_path / "leaderboard_openings.jsonl"]
        return {path: path.stat().st_mtime_ns for path in left}

    report, before = run(config), there()
    caplog.clear()
    assert run(config) == report
    assert there() == before
    said = [line for line in caplog.messages if not line.startswith("data: ")]
    assert said == [f"final model: done already, in {tmp_path / FINAL_FOLDER}"]


def test_another_seed_is_another_study(whole: Path, tables: SyntheticTables, tmp_path: Path) -> None:
    run(config_for(tables, tmp_path, seed=1, trials=1, max_epochs=1))
    assert finished(tmp_path)[0][2] != finished(whole)[0][2]


def test_best_parameters_train_again_without_the_search(whole: Path, tables: SyntheticTables, tmp_path: Path) -> None:
    assert {"best_value_score", "best_value_macro_ap_cv"} <= best_params(whole).keys()
    again = config_for(tables, tmp_path, run_hpo=False, fix=(), best_params_json=whole / BEST_PARAMS)
    run(again)
    assert same_weights(weights(tmp_path), weights(whole))
    assert not (tmp_path / "study.db").exists()


def test_without_the_search_the_study_folders_own_parameters_are_the_default(
    whole: Path, tables: SyntheticTables, tmp_path: Path
) -> None:
    (tmp_path / BEST_PARAMS).write_bytes((whole / BEST_PARAMS).read_bytes())
    run(config_for(tables, tmp_path, run_hpo=False, fix=()))
    assert same_weights(weights(tmp_path), weights(whole))


def test_legacy_names_in_a_parameter_file_are_understood(tables: SyntheticTables, tmp_path: Path) -> None:
    legacy = {
        **TINY,
        "mol_embedder_name": "mlp_v3",
        "inst_embedder_name": "mlp_v3",
        "rare_prev_thr": 0.1,
        "lambda_power": 0.7,
        "pos_weight_clip": 30.0,
        "best_value_macro_ap_cv": 0.61,
        "best_params_from": "somewhere",
    }
    write_json(tmp_path / "legacy.json", legacy)
    run(config_for(tables, tmp_path, run_hpo=False, max_epochs=1, fix=(), best_params_json=tmp_path / "legacy.json"))
    params = load_checkpoint(tmp_path / CHECKPOINT).info["params"]
    assert params["rare_prev_thr"] == 0.1
    assert params["lambda_power"] == 0.7
    assert [params[f"posw_clip_t{t}"] for t in range(4)] == [30.0] * 4
    assert HPOConfig.from_params(params, EUOS25).to_params(EUOS25) == params


def test_with_the_search_the_studys_own_best_parameters_are_used(tables: SyntheticTables, tmp_path: Path) -> None:
    write_json(tmp_path / "others.json", {**TINY, "weight_decay": 0.5})
    run(config_for(tables, tmp_path / "s", trials=1, max_epochs=1, best_params_json=tmp_path / "others.json"))
    assert (
        load_checkpoint(tmp_path / "s" / CHECKPOINT).info["params"]["weight_decay"]
        == finished(tmp_path / "s")[0][2]["weight_decay"]
    )


@pytest.mark.parametrize("memory", [0.0, 1e-6, 1e6])
def test_a_store_and_its_tables_give_the_same_model_also_where_memory_is_short(
    whole: Path,
    tables: SyntheticTables,
    tmp_path: Path,
    memory: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "memory_gb", lambda: (0.0, memory))
    bags = load_tables(tables.labels, tables.feat2d, tables.instances, EUOS25)
    save_store(tmp_path / "store", bags, EUOS25, provenance={})
    nothing = {"labels": None, "feat2d_scaled": None, "feat3d_scaled": None, "feat3d_qm_scaled": None}
    params = {"run_hpo": False, "fix": (), "best_params_json": whole / BEST_PARAMS}
    run(config_for(tables, tmp_path / "study", store=tmp_path / "store", **nothing, **params))
    assert same_weights(weights(tmp_path / "study"), weights(whole))
    notes = json.loads((tmp_path / "study" / "run_meta.json").read_text())["notes"]
    assert any("features stay on disk" in note for note in notes) == (memory == 1e-6)


def test_a_stores_own_endpoints_are_the_ones_that_are_pinned_and_trained(tmp_path: Path) -> None:
    tasks = make_tasks(6)
    tables = make_tables(tmp_path / "tables", 60, tasks)
    save_store(tmp_path / "store", load_tables(tables.labels, tables.feat2d, tables.instances, tasks), tasks, provenance={})
    fix = (*(f"{name}={value}" for name, value in PINS.items()), "gamma_t5=1.5")
    config = PipelineConfig(
        tmp_path / "study",
        store=tmp_path / "store",
        run_hpo=True,
        trials=1,
        folds=2,
        max_epochs=1,
        fix=fix,
        nn_accelerator="cpu",
    )
    run(config)
    assert load_checkpoint(tmp_path / "study" / CHECKPOINT).info["params"]["gamma_t5"] == 1.5


def test_csv_and_parquet_give_the_same_model(whole: Path, tmp_path: Path) -> None:
    csv = make_tables(tmp_path / "csv", 90, suffix=".csv")
    run(config_for(csv, tmp_path / "study", run_hpo=False, fix=(), best_params_json=whole / BEST_PARAMS))
    for name, value in weights(tmp_path / "study").items():
        torch.testing.assert_close(value, weights(whole)[name], rtol=1e-4, atol=1e-5)


def test_a_users_folds_are_used_and_molecules_without_one_are_still_trained_on(
    tables: SyntheticTables, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = pd.read_parquet(tables.labels)
    train = (labels["split"] == "train").to_numpy()
    fold = np.where(train, np.arange(len(labels)) % 3, np.nan)
    fold[:6] = np.nan
    labels.assign(cv_fold=fold).to_parquet(tmp_path / "labels.parquet")
    own = dataclasses.replace(tables, labels=tmp_path / "labels.parquet")
    with caplog.at_level(logging.INFO, "milbench"):
        run(config_for(own, tmp_path / "study", trials=1, max_epochs=1))
    assert "--folds 2 is not used: the data bring their own 3 folds" in caplog.text
    oof = pd.read_parquet(tmp_path / "study" / "oof.parquet").set_index("ID")["fold"]
    wanted = pd.Series(fold, labels["ID"]).dropna()
    assert oof.to_dict() == wanted.astype(int).to_dict()
    assert "6 molecules have no fold: not cross-validated, but trained on by the final model" in caplog.text

    from milbench.pipeline import HPODataBuilder, PipelineEnvironmentFactory

    data = HPODataBuilder(PipelineEnvironmentFactory(config_for(own, tmp_path / "other")).create()).build()
    inner = data.final.fold("inner")
    assert set(range(6)) <= set(inner.train)
    assert len(inner.train) + len(inner.val) == train.sum()


def test_a_fold_column_that_was_named_is_in_the_labels_or_in_the_fold_table(tables: SyntheticTables, tmp_path: Path) -> None:
    from milbench.pipeline import HPODataBuilder, PipelineEnvironmentFactory

    ids = pd.read_parquet(tables.labels)["ID"]
    ids.to_frame().assign(mine=np.arange(len(ids)) % 3).to_csv(tmp_path / "folds.csv", index=False)
    config = config_for(tables, tmp_path / "study", fold_col="mine", fold_table=tmp_path / "folds.csv")
    environment = PipelineEnvironmentFactory(config).create()
    data = HPODataBuilder(environment).build()
    used = data.fold_of >= 0
    assert (data.fold_of[used] == (np.arange(len(ids)) % 3)[used]).all()
    without = dataclasses.replace(environment, config=dataclasses.replace(config, fold_table=None))
    with pytest.raises(DataError, match="column 'mine' is missing"):
        HPODataBuilder(without).build()


def test_use_splits_chooses_what_is_trained_on(tables: SyntheticTables, tmp_path: Path) -> None:
    labels = pd.read_parquet(tables.labels)
    labels.loc[:9, "split"] = "extra"
    labels.to_parquet(tmp_path / "labels.parquet")
    own = dataclasses.replace(tables, labels=tmp_path / "labels.parquet")
    run(config_for(own, tmp_path / "a", trials=1, max_epochs=1))
    run(config_for(own, tmp_path / "b", trials=1, max_epochs=1, use_splits=("train", "extra")))
    a, b = (set(pd.read_parquet(tmp_path / name / "oof.parquet")["ID"]) for name in "ab")
    assert b - a == set(labels["ID"][:10])


def test_attention_goes_where_it_is_asked_to(whole: Path, tables: SyntheticTables, tmp_path: Path) -> None:
    out = tmp_path / "new" / "attention.csv"
    params = {"run_hpo": False, "fix": (), "best_params_json": whole / BEST_PARAMS}
    run(config_for(tables, tmp_path / "study", attn_out=out, **params))
    there = pd.read_parquet(final(whole, "leaderboard_attn.parquet"))
    pd.testing.assert_frame_equal(pd.read_csv(out, dtype={"ID": str, "conf_id": str}), there, check_dtype=False, rtol=1e-6)


def test_joining_a_folder_with_other_settings_is_refused_and_leaves_it_as_it_was(whole: Path, tables: SyntheticTables) -> None:
    before = (whole / BEST_PARAMS).read_bytes(), len(trials_of(whole))
    with pytest.raises(StudyError, match="max_epochs: 3 there, 4 here"):
        run(config_for(tables, whole, max_epochs=4, trials=5))
    assert ((whole / BEST_PARAMS).read_bytes(), len(trials_of(whole))) == before


def test_orphans_of_killed_writers_are_swept(tables: SyntheticTables, tmp_path: Path) -> None:
    orphan = tmp_path / ".oof.parquet.partial-4194303-0123abcd0123abcd"
    orphan.write_bytes(b"half")
    os.utime(orphan, (0, 0))
    run(config_for(tables, tmp_path, trials=1, max_epochs=1))
    assert not orphan.exists()


def test_a_password_in_the_storage_url_is_not_recorded(tables: SyntheticTables, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    url = f"sqlite:///{tmp_path}/x/elsewhere.db"
    run(config_for(tables, tmp_path / "s", trials=1, max_epochs=1, storage=url))
    assert json.loads((tmp_path / "s" / "run_meta.json").read_text())["arguments"]["storage"] == url
    assert (tmp_path / "x" / "elsewhere.db").is_file()
    assert not (tmp_path / "s" / "study.db").exists()
    with pytest.raises(ConfigError) as caught:
        run(config_for(tables, tmp_path / "t", storage="postgresql://me:secret@localhost:1/x"))
    assert "secret" not in str(caught.value)
    assert "me:***@localhost" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "--trials: got 0, want 1 or more"),
        ({"max_epochs": 0}, "--max_epochs: got 0, want 1 or more"),
        ({"patience": -1}, "--patience: got -1, want 1 or more"),
        ({"folds": 1}, "--folds: got 1, want 2 or more"),
        ({"min_w": 0.9}, "--min_w: got 0.9, want 0.1 to 0.6"),
        ({"pruner_percentile": 0.0}, "--pruner_percentile: got 0.0"),
        ({"pruner_startup_trials": -1}, "--pruner_startup_trials: got -1"),
        ({"nn_devices": 0}, "--nn_devices: got 0"),
        ({"num_workers": -1}, "--num_workers: got -1"),
        ({"nn_accelerator": "tpu"}, "--nn_accelerator: got 'tpu', want auto, cpu or gpu"),
        ({"precision": "64-true"}, "--precision: got '64-true'"),
        ({"precision": "16-mixed"}, "--precision: needs a GPU, got '16-mixed'; use bf16-mixed or 32-true"),
        ({"attn_out": Path("attention.xlsx")}, "--attn_out: got '.xlsx', want .parquet or .csv"),
        ({"fix": ("min_w=0.2",)}, "--fix min_w: is a setting of the study; use --min_w 0.2"),
        ({"range": ("min_w=0.2:0.3",)}, "--range min_w: is a setting of the study; use --min_w or --search_min_w"),
        ({"range": ("weight_decay",)}, "--range: got 'weight_decay', want NAME=LOW:HIGH or NAME=a,b"),
        ({"range": ("lr=1e-4:2e-4",)}, "--range lr: is pinned by --fix lr=0.005; leave out one of the two"),
        ({"fix": ("inst_hidden=12", "attn_heads=8")}, "inst_hidden=12 is not a multiple of attn_heads=8"),
        ({"tasks": "euos26"}, "--tasks: got 'euos26', want a preset"),
        ({"feat3d_scaled": None}, "--feat3d_scaled: is missing"),
        (
            {"monitor": "leaderboard", "leaderboard_split": "leaderbord"},
            "--monitor leaderboard: no molecule is in --leaderboard_split leaderbord; name the split",
        ),
        ({"prescaled": True, "impute": "median"}, "--impute: needs the scaling in the fold"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_trained(
    tables: SyntheticTables, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(MilbenchError) as caught:
        run(config_for(tables, tmp_path / "study", **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "study" / "study.db").exists()


@pytest.mark.parametrize(
    "flag",
    [
        {"labels_missing": "negative"},
        {"keep_empty_bags": True},
        {"feat3d_qm_scaled": Path("qm.parquet")},
        {"tasks": "mine.toml"},
        {"id_col": "mol"},
        {"conf_col": "shape"},
        {"split_col": "part"},
    ],
    ids=lambda flag: next(iter(flag)),
)
def test_a_store_is_not_given_what_is_of_tables(tmp_path: Path, flag: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"--store: was given together with --{next(iter(flag))}; leave it out"):
        run(PipelineConfig(tmp_path / "study", store=tmp_path / "store", **flag))
    assert not list(tmp_path.iterdir())


def test_the_id_column_of_a_fold_table_can_be_named_beside_a_store(tmp_path: Path) -> None:
    table = {"store": tmp_path / "store", "fold_table": tmp_path / "folds.csv"}
    check_inputs(PipelineConfig(tmp_path / "study", id_col="mol", fold_col="mine", **table))
    with pytest.raises(ConfigError, match="--split_col"):
        check_inputs(PipelineConfig(tmp_path / "study", id_col="mol", split_col="part", **table))


def test_a_fold_without_positives_is_told_before_the_study_is_made(tables: SyntheticTables, tmp_path: Path) -> None:
    labels = pd.read_parquet(tables.labels)
    labels["cv_fold"] = np.arange(len(labels)) % 3
    labels.loc[labels["cv_fold"] == 2, list(EUOS25.names)] = 0
    labels.to_parquet(tmp_path / "labels.parquet")
    own = dataclasses.replace(tables, labels=tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"fold 3: no positive of any endpoint among its .* validation molecules"):
        run(config_for(own, tmp_path / "study"))
    assert {path.name for path in (tmp_path / "study").iterdir()} == {"log.txt", "status.json"}


@pytest.mark.parametrize("kind", ["2d", "inst"])
def test_a_leaderboard_that_cannot_be_predicted_is_told_before_the_study_is_made(
    tables: SyntheticTables, tmp_path: Path, kind: str
) -> None:
    bags = load_tables(tables.labels, tables.feat2d, tables.instances, EUOS25)
    place = int(np.flatnonzero((bags.split == "leaderboard") & (bags.bag_sizes > 1))[1])
    if kind == "2d":
        bags.x2d[place, 2] = torch.nan
    else:
        bags.xinst[int(bags.offsets[place]) + 1, 3] = torch.inf
    store = save_store(tmp_path / "store", dataclasses.replace(bags, content=kind), EUOS25, provenance={})
    nothing = dict.fromkeys(("labels", "feat2d_scaled", "feat3d_scaled", "feat3d_qm_scaled"))
    config = config_for(tables, tmp_path / "study", store=store, trials=1, max_epochs=1, **nothing)
    column = bags.names2d[2] if kind == "2d" else bags.names_inst[3]
    said = f"leaderboard, column {column}: NaN or inf in molecule {bags.ids[place]}; mend .*--impute"
    with pytest.raises(DataError, match=said):
        run(config)
    assert {path.name for path in (tmp_path / "study").iterdir()} == {"log.txt", "status.json"}
    assert run(dataclasses.replace(config, impute="median"))["opened"] == 1


def test_the_arguments_of_a_config_parse_to_the_config(tables: SyntheticTables, tmp_path: Path) -> None:
    config = config_for(tables, tmp_path, attn_out=tmp_path / "a.csv", use_splits=("train", "extra"), pin_memory=True)
    assert PipelineConfigFactory().parse(arguments(config)[1:]) == config


def test_task_names_that_a_table_must_not_have_are_still_tasks(tmp_path: Path) -> None:
    """A task set from TOML, with its own column names."""
    (tmp_path / "tasks.toml").write_text(
        'name = "mine"\n[[endpoints]]\nname = "glow"\ncolumn = "is glowing?"\nap_weighted = true\nweight = "w"\n'
    )
    from milbench.tasks import load_tasks

    tasks = load_tasks(str(tmp_path / "tasks.toml"))
    assert isinstance(tasks, TaskSet)
    tables = make_tables(tmp_path / "tables", 60, tasks)
    report = run(config_for(tables, tmp_path / "s", tasks=str(tmp_path / "tasks.toml"), trials=1, max_epochs=1))
    assert list(report["leaderboard"]["tasks"]) == ["glow"]
    assert "pred_glow" in pd.read_parquet(report["attention"])
