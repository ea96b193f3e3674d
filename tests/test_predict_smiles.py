"""From SMILES to predictions on the command line: prepared, trained, predicted, scored, submitted; nobody lost on the way."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from milbench.chem.prepare import prepare
from milbench.cli import main
from milbench.data.manifest import read_manifest
from milbench.data.store import load_store
from milbench.data.store_append import append_store
from milbench.errors import DataError, MilbenchError
from milbench.predict_blocks import Predictor
from milbench.prepare_config import PrepareConfig
from milbench.recipe import RECIPE, recipe_of, same_recipe
from milbench.run_config import FINAL_FOLDER, RUN_FOLDER_VARIABLE
from milbench.tasks import EUOS25
from milbench.training.ensemble import load_model
from predicting import PRED, nci_smiles
from runs import PINS

pytestmark = pytest.mark.usefixtures("logging_as_before")
CAGE = "C1#CC#CC#CC#C1"
"""A ring for which no geometry is found."""
SETS = {"sets_2d": ("conjugation", "maccs"), "sets_3d": ("usr", "huckel"), "conformers": 2, "processes": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.csv of 60 molecules with made-up labels, train.store, and the study in which a model was trained on it."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"ID": [f"nci{i}" for i in range(60)], "smiles": nci_smiles(60)})
    for name in EUOS25.names:
        frame[name] = (rng.random(60) < 0.4).astype(int)
    frame["split"] = np.where(np.arange(60) % 4 == 0, "leaderboard", "train")
    frame.to_csv(home / "train.csv", index=False)
    prepare(PrepareConfig(home / "train.csv", home / "train.store", **SETS))
    (home / "params.json").write_text(json.dumps(PINS))
    flags = ["--best_params_json", str(home / "params.json"), "--max_epochs", "2", "--folds", "3", "--nn_accelerator", "cpu"]
    assert main(["run", "--store", str(home / "train.store"), "--study_dir", str(home / "study"), *flags]) == 0
    return home


def command(home: Path, source: Path, out: Path, *flags: str) -> list[str]:
    """The command line of a prediction."""
    return [
        "predict",
        str(home / "study"),
        str(source),
        "--out",
        str(out),
        "--processes",
        "1",
        "--nn_accelerator",
        "cpu",
        *flags,
    ]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Twelve new molecules, a salt and a ring without geometry among them, and five rows that give none."""
    good = [*nci_smiles(80)[70:], "CC(=O)[O-].[Na+]", CAGE]
    bad = ["no structure", "", "C(C)(C)(C)(C)C", "[H][H]"]
    ids = [*(f"new{i}" for i in range(12)), *(f"bad{i}" for i in range(4)), "new3"]
    pd.DataFrame({"ID": ids, "smiles": [*good, *bad, "CCO"]}).to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


def test_new_smiles_are_predicted_and_those_that_cannot_be_are_listed_with_the_reason(
    home: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(home, new, tmp_path / "p.csv", "--attn_out", str(tmp_path / "a.csv"))) == 0
    out = capsys.readouterr().out
    table, attention = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(tmp_path / "a.csv")
    left = pd.read_csv(tmp_path / "p.left_out.csv")
    assert table["ID"].tolist() == [f"new{i}" for i in range(12)]
    assert np.isfinite(table[PRED]).all(axis=None) and table[PRED].to_numpy().min() > 0 and table[PRED].to_numpy().max() < 1
    assert table["from_2d_alone"].tolist() == [False] * 11 + [True]
    assert set(attention["ID"]) == set(table["ID"][:11])
    assert left[["row", "ID"]].to_numpy().tolist() == [[13, "bad0"], [14, "bad1"], [15, "bad2"], [16, "bad3"], [17, "new3"]]
    assert left["reason"].tolist() == ["unparsable", "empty", "unparsable", "unparsable", "duplicate_id"]
    assert left["source"].tolist()[0] == "no structure"
    assert "p.csv: 12 of 17 molecules predicted" in out
    assert "1 without conformers: from 2D alone" in out
    assert "5 not predicted (" in out and "molecules/s" in out
    assert not list(tmp_path.glob("*.work"))


def test_a_known_molecule_given_as_smiles_is_described_as_it_was_in_training(home: Path, tmp_path: Path) -> None:
    known = pd.read_csv(home / "train.csv")[["ID", "smiles"]]
    known.iloc[::-1].to_csv(tmp_path / "again.csv", index=False)
    assert main(command(home, tmp_path / "again.csv", tmp_path / "p.parquet")) == 0
    assert main(command(home, home / "train.store", tmp_path / "q.parquet")) == 0
    smiles, store = (pd.read_parquet(tmp_path / f"{name}.parquet").set_index("ID") for name in "pq")
    np.testing.assert_allclose(smiles.loc[store.index, PRED], store[PRED], atol=1e-5)
    assert (smiles["conformers"][store.index] == store["conformers"]).all()
    split = load_store(home / "train.store")[0].split
    assert (smiles["nearest_similarity"][store.index] == 1)[split == "train"].all()


def test_labels_need_not_be_there_for_every_endpoint(home: Path, new: Path, tmp_path: Path) -> None:
    known = [0, 1, *[None] * 15]
    pd.read_csv(new).assign(Transmittance_450=known).to_csv(new, index=False)
    assert main(command(home, new, tmp_path / "p.parquet", "--store", str(tmp_path / "kept.store"))) == 0
    table = pd.read_parquet(tmp_path / "p.parquet")
    assert table["label_Transmittance_450"].dropna().tolist() == [0, 1]
    assert table["label_Fluorescence_340_450"].isna().all()
    absent = "Transmittance_340, Fluorescence_340_450, Fluorescence_more_than_480; these labels are all missing"
    assert absent in "\n".join(read_manifest(tmp_path / "kept.store")["notes"])
    with pytest.raises(DataError, match="column 'Transmittance_340' is missing"):
        prepare(PrepareConfig(new, tmp_path / "store", **SETS))


def test_the_described_molecules_can_be_kept_for_another_model(home: Path, new: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.store"
    assert main(command(home, new, tmp_path / "p.parquet", "--store", str(kept))) == 0
    assert (kept / "coordinates.npy").is_file()
    assert main(command(home, kept, tmp_path / "q.parquet")) == 0
    assert pd.read_parquet(tmp_path / "q.parquet").equals(pd.read_parquet(tmp_path / "p.parquet"))


def test_a_prediction_stopped_after_the_chemistry_does_not_repeat_it(home: Path, new: Path, tmp_path: Path) -> None:
    args = command(home, new, tmp_path / "p.parquet", "--block", "5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "tables", _stop)
        assert main(args) == 2
    store = tmp_path / "p.parquet.work" / "store"
    before = {path.name: path.stat().st_mtime_ns for path in store.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("milbench.chem.prepare._compute", _stop)
        assert main(args) == 0
    assert before and not store.exists()
    assert main(command(home, new, tmp_path / "q.parquet", "--block", "5")) == 0
    assert (tmp_path / "p.parquet").read_bytes() == (tmp_path / "q.parquet").read_bytes()


def _stop(*_: object, **__: object) -> None:
    raise MilbenchError("stopped", "in the middle")


def test_predictions_are_scored_and_submitted_as_they_are(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from milbench.data.euos25_files import FILES

    challenge = tmp_path / "challenge"
    challenge.mkdir()
    test = pd.DataFrame({"ID": [7, 3, 5], "SMILES": nci_smiles(90)[80:83]})
    test.to_csv(challenge / "euos25_challenge_test.csv", index=False)
    for name, file in FILES.items():
        word = "Transmittance" if "ransmittance" in name else "Fluorescence"
        pd.DataFrame({"ID": [1, 2], "SMILES": ["CCO", "CCN"], word: [0, 1]}).to_csv(challenge / file, index=False)
    assert main(command(home, challenge / "euos25_challenge_test.csv", tmp_path / "p.parquet")) == 0
    assert main(["submit", "euos25", str(tmp_path / "p.parquet"), str(challenge), "--out", str(tmp_path / "s.csv")]) == 0
    submitted = pd.read_csv(tmp_path / "s.csv")
    np.testing.assert_allclose(submitted, pd.read_parquet(tmp_path / "p.parquet")[PRED])
    assert main(command(home, home / "train.csv", tmp_path / "known.csv")) == 0
    capsys.readouterr()
    assert main(["score", str(tmp_path / "known.csv"), "--draws", "100"]) == 0
    said = capsys.readouterr().out
    assert "Transmittance_340" in said and "macro AP" in said


def test_the_progress_of_a_prediction_shows_in_the_folder_of_its_job(
    home: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_FOLDER_VARIABLE, str(tmp_path / "job"))
    assert main(command(home, new, tmp_path / "p.parquet")) == 0
    status = json.loads((tmp_path / "job" / "status.json").read_text())
    assert (status["state"], status["done"], status["total"]) == ("done", 12, 12)
    assert "of 17 rows" in (tmp_path / "job" / "log.txt").read_text()


MISTAKES = {
    "no_id": ("new.csv: column 'ID' is missing", lambda frame: frame.rename(columns={"ID": "name"})),
    "no_smiles": ("new.csv: column 'SMILES' is missing", lambda frame: frame.rename(columns={"smiles": "structure"})),
    "nobody": ("new.csv: no molecule is left; the first row was dropped: unparsable", lambda frame: frame.iloc[12:13]),
    "empty_id": ("new.csv, row 2, column ID: is empty", lambda frame: frame.assign(ID=frame["ID"].where(frame.index != 1))),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    home: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    said, change = MISTAKES[mistake]
    change(pd.read_csv(new)).to_csv(new, index=False)
    assert main(command(home, new, tmp_path / "p.parquet")) == 2
    last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("milbench: ")]
    assert len(last) == 1 and said in last[0]
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_other_formats_and_other_chemistry_are_said_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles("c1ccccc1O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    mol.SetProp("_Name", "phenol")
    (tmp_path / "own.sdf").write_text(Chem.MolToMolBlock(mol) + "$$$$\n")
    monkeypatch.setattr("rdkit.__version__", "1999.1")
    assert main(command(home, tmp_path / "own.sdf", tmp_path / "p.parquet")) == 0
    said = capsys.readouterr().err
    assert said.count("these are with 1999.1: descriptors may differ") == 1
    assert said.count("the model was trained on conformers made by ETKDG, these are brought by an .sdf") == 1
    assert pd.read_parquet(tmp_path / "p.parquet")["ID"].tolist() == ["phenol"]
    (tmp_path / "new.smi").write_text("CCO\nc1ccccc1N aniline\n")
    monkeypatch.undo()
    assert main(command(home, tmp_path / "new.smi", tmp_path / "q.parquet")) == 0
    assert pd.read_parquet(tmp_path / "q.parquet")["ID"].tolist() == ["1", "aniline"]


# the recipe


def test_a_model_knows_how_its_features_were_made(home: Path) -> None:
    recipe = load_model(home / "study").recipe
    assert recipe is not None
    assert recipe["sets_2d"] == ["conjugation", "maccs"] and recipe["conformers"] == 2
    about = json.loads((home / "study" / FINAL_FOLDER / "model.json").read_text())
    assert about["recipe"] == recipe
    manifest = read_manifest(home / "train.store")
    assert (about["features_2d"], about["features_3d"]) == (manifest["features_2d"], manifest["features_3d"])
    assert about["content"] == manifest["content"]


def test_molecules_can_be_prepared_like_a_model_to_be_predicted_later(home: Path, new: Path, tmp_path: Path) -> None:
    prepare(PrepareConfig(new, tmp_path / "like.store", like=home / "study", keep_empty_bags=True, **SETS))
    assert main(command(home, tmp_path / "like.store", tmp_path / "p.parquet")) == 0
    assert main(command(home, new, tmp_path / "q.parquet")) == 0
    p, q = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in "pq")
    np.testing.assert_allclose(p[PRED], q[PRED], atol=1e-6)


def test_a_store_that_grew_keeps_its_recipe_if_both_parts_were_made_alike(home: Path, new: Path, tmp_path: Path) -> None:
    store = home / "train.store"
    prepare(PrepareConfig(new, tmp_path / "more", like=store, **SETS))
    grown = load_store(append_store(store, tmp_path / "more", tmp_path / "grown"))[0]
    assert same_recipe(recipe_of(grown.provenance), recipe_of(load_store(store)[0].provenance))
    other = {**read_manifest(tmp_path / "more")["provenance"]}
    other["settings"] = {**other["settings"], "conformers": 3}
    assert recipe_of({"made_by": "append_store", "stores": [read_manifest(store)["provenance"], other]}) is None


def test_tables_have_no_recipe() -> None:
    assert recipe_of({"made_by": "load_tables", "tables": ["a.csv"]}) is None
    assert recipe_of({}) is None
    assert not same_recipe(None, None)
    settings = dict.fromkeys(RECIPE, 1)
    assert recipe_of({"settings": settings}) == {**settings, "rdkit": "", "own_coordinates": False}
