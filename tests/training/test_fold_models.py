"""The models of a study's folds as the final model: the very models that the out-of-fold predictions come from."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from milbench.data.assemble import load_tables
from milbench.errors import ConfigError, StudyError
from milbench.files import read_json
from milbench.pipeline import MILPipelineOrchestrator
from milbench.run_config import FINAL_FOLDER, FinalTrainConfig
from milbench.testing import SyntheticTables, make_tables
from milbench.training.ensemble import load_model
from runs import config_for


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> SyntheticTables:
    return make_tables(tmp_path_factory.mktemp("tables"), 90)


@pytest.fixture(scope="module")
def study(tables: SyntheticTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose final model is that of its folds."""
    folder = tmp_path_factory.mktemp("study")
    MILPipelineOrchestrator(config_for(tables, folder, fold_models=True)).run()
    return folder


def test_the_final_model_gives_the_out_of_fold_predictions_where_its_members_did_not_train(
    tables: SyntheticTables, study: Path
) -> None:
    model, oof = load_model(study), pd.read_parquet(study / "oof.parquet")
    assert len(model.members) == 2
    bags = load_tables(tables.labels, tables.feat2d, [tables.feat3d, tables.feat3d_qm])
    places = pd.Index(bags.ids).get_indexer(pd.Index(oof["ID"]))
    names = [f"pred_{name}" for name in model.tasks.names]
    for k, member in enumerate(model.members):
        own = (oof["fold"] == k).to_numpy()
        predicted = member.evaluator(bags).predict(places[own]).probability
        np.testing.assert_allclose(predicted, oof.loc[own, names], atol=1e-6)
    best = read_json(study / "multimodal_mil_aux_gpu_best_params.json")["best_trial"]
    assert {member.info["trial"] for member in model.members} == {best}


def test_nothing_is_trained_for_it_and_the_held_out_scores_are_the_studys(study: Path) -> None:
    lines = [line for line in (study / "metrics.jsonl").read_text().splitlines() if '"final"' in line]
    assert not lines
    report = read_json(study / FINAL_FOLDER / "leaderboard_eval.json")
    assert [member["fold"] for member in report["members"]] == [0, 1]
    assert report["leaderboard"] is not None


def test_run_again_it_is_done_and_a_torn_set_of_models_is_refused(tables: SyntheticTables, study: Path, tmp_path: Path) -> None:
    report = study / FINAL_FOLDER / "leaderboard_eval.json"
    before = report.stat().st_mtime_ns
    MILPipelineOrchestrator(config_for(tables, study, fold_models=True)).run()
    assert report.stat().st_mtime_ns == before
    kept = study / "fold_models" / "1.ckpt"
    content = kept.read_bytes()
    try:
        kept.unlink()
        with pytest.raises(StudyError, match=r"1.ckpt.*--fold_models"):
            MILPipelineOrchestrator(config_for(tables, study, fold_models=True)).run()
    finally:
        kept.write_bytes(content)
    other = config_for(tables, study, fold_models=True, run_hpo=False, fix=("gamma_t0=9",))
    with pytest.raises(StudyError, match="other parameters"):
        MILPipelineOrchestrator(other).run()
    assert report.stat().st_mtime_ns == before  # what is refused takes nothing away


def test_models_that_are_trained_already_are_not_trained_in_another_way() -> None:
    with pytest.raises(ConfigError, match="--fold_models"):
        FinalTrainConfig(fold_models=True, ensemble=3)
    with pytest.raises(ConfigError, match="--fold_models"):
        FinalTrainConfig(fold_models=True, monitor="leaderboard")
