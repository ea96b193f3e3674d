"""Runs on some of a store's features and conformers: frozen with the study, kept in the model, used by predict."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from milbench.chem.prepare import prepare
from milbench.cli import main
from milbench.files import read_json
from milbench.prepare_config import PrepareConfig
from milbench.run_config import FINAL_FOLDER
from milbench.tasks import EUOS25
from milbench.training.checkpoint import load_checkpoint
from predicting import PRED, nci_smiles
from runs import FIX, PINS

SETS = {"sets_2d": ("conjugation", "maccs"), "sets_3d": ("usr", "huckel"), "conformers": 2, "processes": 1}
CHOSEN = ("--features2d", "maccs", "--features3d", "usr", "--scaling", "quantile", "--clip", "2.5")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 molecules with made-up labels and folds."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"ID": [f"nci{i}" for i in range(60)], "smiles": nci_smiles(60), "mine": np.arange(60) % 3})
    for name in EUOS25.names:
        frame[name] = (rng.random(60) < 0.4).astype(int)
    frame.to_csv(home / "train.csv", index=False)
    prepare(PrepareConfig(home / "train.csv", home / "store", **SETS))
    frame[["ID", "smiles"]].iloc[:8].to_csv(home / "new.csv", index=False)
    return home / "store"


def run(command: str, store: Path, study: Path, *flags: str) -> int:
    """A study of one trial, or a final model, on the CPU."""
    few = (
        "--max_epochs",
        "2",
        "--nn_accelerator",
        "cpu",
        "--fold_table",
        str(store.parent / "train.csv"),
        "--fold_col",
        "mine",
    )
    return main([command, "--store", str(store), "--study_dir", str(study), *few, *flags])


def test_a_study_keeps_its_features_and_scaling_and_refuses_others(store: Path, tmp_path: Path, capsys) -> None:
    study = tmp_path / "study"
    search = ("--trials", "1", "--fix", *FIX)
    assert run("hpo", store, study, *CHOSEN, "--conformers", "1", *search) == 0
    oof = pd.read_parquet(study / "oof.parquet")
    assert sorted(oof["fold"].unique()) == [0, 1, 2]
    assert (oof["fold"] == oof["ID"].str.removeprefix("nci").astype(int) % 3).all()
    for other in ((*CHOSEN, "--conformers", "2"), (*CHOSEN[:-1], "3", "--conformers", "1"), ()):
        assert run("hpo", store, study, *other, *search) == 2
        assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize("conformers", [0, 1])
def test_predict_gives_a_model_the_features_and_conformers_that_it_was_trained_on(
    store: Path, tmp_path: Path, conformers: int
) -> None:
    (tmp_path / "params.json").write_text(json.dumps(PINS))
    flags = (*CHOSEN, "--conformers", str(conformers), "--best_params_json", str(tmp_path / "params.json"))
    assert run("run", store, tmp_path / "study", *flags) == 0
    model = load_checkpoint(tmp_path / "study" / FINAL_FOLDER / "best_model.ckpt")
    assert model.conformers == conformers
    assert model.scale2d is not None
    assert (len(model.names2d), len(model.names_inst)) == (166, 12)
    assert (model.scale2d.scaling.kind, model.scale2d.scaling.clip) == ("quantile", 2.5)
    tables = []
    for source in (store, store.parent / "new.csv"):
        out, attention = tmp_path / f"{source.stem}.parquet", tmp_path / f"{source.stem}_attention.parquet"
        flags = ("--out", str(out), "--attn_out", str(attention), "--nn_accelerator", "cpu")
        assert main(["predict", str(tmp_path / "study"), str(source), *flags]) == 0
        tables.append(pd.read_parquet(out).iloc[:8])
        assert set(pd.read_parquet(attention).groupby("ID").size()) == ({conformers} if conformers else set())
    assert (tables[0]["conformers"] <= conformers).all()
    np.testing.assert_allclose(tables[1][PRED], tables[0][PRED], atol=1e-6)
    assert tables[0]["clipped_features"].tolist() == tables[1]["clipped_features"].tolist()
    about = read_json(tmp_path / "study" / FINAL_FOLDER / "model.json")
    assert about["provenance"]["chosen"]["conformers"] == conformers


def test_wrong_choices_are_one_line(store: Path, tmp_path: Path, capsys) -> None:
    for flags, said in {
        ("--features2d", "mogran"): "mogran",
        ("--conformers", "-1"): "--conformers",
        ("--clip", "0.1"): "--clip",
        ("--prescaled", "--clip", "5"): "--prescaled",
    }.items():
        assert run("hpo", store, tmp_path / "study", *flags) == 2
        assert said in capsys.readouterr().err
    assert main(["hpo", "--store", str(store), "--study_dir", str(tmp_path / "study"), "--fold_col", "mine"]) == 2
    assert "--fold_table" in capsys.readouterr().err
