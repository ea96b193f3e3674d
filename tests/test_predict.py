"""Predictions of new molecules from a store: the model's own, whatever the blocks, and nothing dropped in silence."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from milbench.data.assemble import load_tables
from milbench.data.bags import BagData
from milbench.data.store import load_store, save_store
from milbench.errors import ConfigError, DataError, MilbenchError
from milbench.files import read_json
from milbench.predict import predict
from milbench.predict_blocks import Predictor
from milbench.tasks import EUOS25, Endpoint, TaskSet
from milbench.testing import make_tables
from milbench.training.checkpoint import load_checkpoint
from milbench.training.ensemble import load_model
from predicting import ATTN, PRED, asked, final_data, nci_smiles, real_bags, stored, trained

SIZES = np.array([3, 0, 2, 1, 4, 0, 1, 9, 2, 3, 1, 2, 5, 1, 40, 2, 1, 3, 2, 1])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a final model trained on 40 molecules."""
    return trained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BagData]:
    """A store of 20 new molecules, two without conformers, no label known; and what is in it."""
    bags = real_bags(20, SIZES, smiles=np.array(nci_smiles(100)[80:], dtype=object))
    bags.raw.y[:] = np.nan
    return stored(tmp_path_factory.mktemp("new") / "store", bags), bags


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"ID": str, "conf_id": str})


def test_a_prediction_is_the_evaluators(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    store, bags = new
    predict(asked(model, store, tmp_path / "p.parquet", attn_out=tmp_path / "a.parquet"))
    table, attention = read(tmp_path / "p.parquet"), read(tmp_path / "a.parquet")
    wanted = load_checkpoint(model / "best_model.ckpt").evaluator(bags).predict(np.arange(20))
    assert table["ID"].tolist() == bags.ids.tolist()
    np.testing.assert_allclose(table[PRED], wanted.probability, atol=1e-6)
    assert attention["ID"].tolist() == np.repeat(bags.ids, SIZES).tolist()
    assert attention["conf_id"].tolist() == bags.conf_ids.tolist()
    np.testing.assert_allclose(attention[ATTN], wanted.attention, atol=1e-6)
    np.testing.assert_allclose(attention.groupby("ID")[ATTN].sum(), 1, atol=1e-5)


@pytest.mark.parametrize("block", [1, 3, 7, 19])
def test_the_block_size_cannot_change_a_prediction(model: Path, new: tuple[Path, BagData], tmp_path: Path, block: int) -> None:
    predict(asked(model, new[0], tmp_path / "whole.parquet"))
    predict(asked(model, new[0], tmp_path / "blocks.parquet", block=block, attn_out=tmp_path / "a.csv"))
    whole, blocks = read(tmp_path / "whole.parquet"), read(tmp_path / "blocks.parquet")
    np.testing.assert_allclose(blocks[PRED], whole[PRED], atol=1e-6)
    assert blocks.drop(columns=PRED).equals(whole.drop(columns=PRED))
    assert len(read(tmp_path / "a.csv")) == SIZES.sum()


def test_few_conformers_at_a_time_give_the_same_predictions(
    model: Path, new: tuple[Path, BagData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(asked(model, new[0], tmp_path / "whole.parquet"))
    monkeypatch.setattr("milbench.predict_blocks.BATCH_INSTANCES", 4)
    predict(asked(model, new[0], tmp_path / "few.parquet"))
    np.testing.assert_allclose(read(tmp_path / "few.parquet")[PRED], read(tmp_path / "whole.parquet")[PRED], atol=1e-6)


def test_a_molecule_without_conformers_is_predicted_from_2d_alone_and_flagged(
    model: Path, new: tuple[Path, BagData], tmp_path: Path
) -> None:
    lines = predict(asked(model, new[0], tmp_path / "p.parquet"))
    table = read(tmp_path / "p.parquet")
    assert table["conformers"].tolist() == SIZES.tolist()
    assert table["from_2d_alone"].tolist() == (SIZES == 0).tolist()
    assert np.isfinite(table[PRED]).all(axis=None)
    assert "2 without conformers: from 2D alone (column from_2d_alone)" in lines


def test_csv_holds_what_parquet_holds(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    predict(asked(model, new[0], tmp_path / "p.parquet", block=6))
    predict(asked(model, new[0], tmp_path / "p.csv", block=6))
    pd.testing.assert_frame_equal(read(tmp_path / "p.csv"), read(tmp_path / "p.parquet"), check_dtype=False)


def test_known_labels_stand_beside_the_predictions_with_all_that_a_score_needs(model: Path, tmp_path: Path) -> None:
    bags = real_bags(20)
    bags.raw.y[3, 1] = np.nan
    predict(asked(model, stored(tmp_path / "store", bags), tmp_path / "p.parquet"))
    table = read(tmp_path / "p.parquet")
    np.testing.assert_array_equal(table[[f"label_{name}" for name in EUOS25.names]], bags.raw.y)
    np.testing.assert_array_equal(table["weight_Transmittance_450"], bags.raw.w[:, 1])


def test_labels_are_those_of_the_models_endpoints_whatever_else_the_store_is_labelled_for(model: Path, tmp_path: Path) -> None:
    bags, other = real_bags(20), Endpoint("another")
    there = (EUOS25.endpoints[2], other, EUOS25.endpoints[1])
    raw = dataclasses.replace(bags.raw, y=bags.raw.y[:, [2, 3, 1]], w=bags.raw.w[:, [2, 3, 1]])
    store = save_store(tmp_path / "store", dataclasses.replace(bags, raw=raw), TaskSet("others", there), provenance={})
    predict(asked(model, store, tmp_path / "p.parquet"))
    table = read(tmp_path / "p.parquet")
    wanted = bags.raw.y.copy()
    wanted[:, [0, 3]] = np.nan
    np.testing.assert_array_equal(table[[f"label_{name}" for name in EUOS25.names]], wanted)
    np.testing.assert_array_equal(table["weight_Transmittance_450"], bags.raw.w[:, 1])
    raw = dataclasses.replace(bags.raw, y=bags.raw.y[:, :1], w=bags.raw.w[:, :1])
    alone = dataclasses.replace(bags, raw=raw)
    store = save_store(tmp_path / "alone", alone, TaskSet("other", (other,)), provenance={})
    predict(asked(model, store, tmp_path / "q.parquet"))
    assert not [name for name in read(tmp_path / "q.parquet") if name.startswith(("label_", "weight_"))]


# ensembles


def test_several_models_give_their_mean_and_spread_and_the_mean_attention(
    model: Path, new: tuple[Path, BagData], tmp_path: Path
) -> None:
    other = trained(tmp_path / "other", seed=1)
    predict(asked(model, new[0], tmp_path / "p.parquet", also=(other,), attn_out=tmp_path / "a.parquet"))
    table, attention = read(tmp_path / "p.parquet"), read(tmp_path / "a.parquet")
    each = [load_checkpoint(path / "best_model.ckpt").evaluator(new[1]).predict(np.arange(20)) for path in (model, other)]
    one, two = (part.probability for part in each)
    np.testing.assert_allclose(table[PRED], (one + two) / 2, atol=1e-6)
    np.testing.assert_allclose(table[[f"std_{name}" for name in EUOS25.names]], np.abs(one - two) / 2, atol=1e-6)
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_allclose(attention[ATTN], (each[0].attention + each[1].attention) / 2, atol=1e-6)


def test_a_model_that_is_named_twice_counts_once(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(load_model(model, model / "best_model.ckpt").members) == 1
    assert "1 of the models are named twice and count once" in caplog.text


def test_models_of_other_features_or_endpoints_do_not_predict_together(model: Path, tmp_path: Path) -> None:
    bags = real_bags()
    other = trained(tmp_path / "features", dataclasses.replace(bags, names2d=tuple(f"x{name}" for name in bags.names2d)))
    with pytest.raises(ConfigError, match="was trained on other features than"):
        load_model(model, other)
    content = torch.load(model / "best_model.ckpt", weights_only=True)
    content["tasks"]["endpoints"][0]["name"] = "another"
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match="predicts other endpoints, got 'another, "):
        load_model(model, tmp_path / "other.ckpt")


# what a model is


def test_a_model_is_a_folder_a_study_that_holds_it_or_a_checkpoint(
    model: Path, new: tuple[Path, BagData], tmp_path: Path
) -> None:
    tables = []
    for name, path in (("folder", model), ("study", model.parent), ("checkpoint", model / "best_model.ckpt")):
        predict(asked(path, new[0], tmp_path / f"{name}.parquet"))
        tables.append(read(tmp_path / f"{name}.parquet"))
    assert tables[0].equals(tables[1])
    assert tables[2].equals(tables[0].drop(columns=["nearest_similarity", "nearest_id", "in_domain"]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "nowhere: no such model; give a study folder"),
        ("empty", r"empty: holds no finished model \(no model.json\)"),
        ("nothing.ckpt", "nothing.ckpt: no such file"),
    ],
)
def test_what_holds_no_model_is_one_line(model: Path, new: tuple[Path, BagData], tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=said):
        predict(asked(tmp_path / name, new[0], tmp_path / "p.parquet"))
    assert not (tmp_path / "p.parquet.work").exists()


# features


def test_the_order_of_columns_and_further_ones_do_not_matter(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    store, bags = new
    extra = torch.arange(20.0)[:, None]
    shuffled = dataclasses.replace(
        bags,
        x2d=torch.cat([extra, bags.x2d.flip(1)], dim=1),
        names2d=("extra", *bags.names2d[::-1]),
        xinst=bags.xinst.flip(1),
        names_inst=bags.names_inst[::-1],
    )
    predict(asked(model, store, tmp_path / "p.parquet"))
    predict(asked(model, stored(tmp_path / "shuffled", shuffled), tmp_path / "q.parquet"))
    assert read(tmp_path / "q.parquet").equals(read(tmp_path / "p.parquet"))


def test_a_missing_feature_is_one_clear_line(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    bags = new[1]
    fewer = dataclasses.replace(bags, xinst=bags.xinst[:, 2:], names_inst=bags.names_inst[2:])
    said = "store, column g0: lacks 2 of the 6 conformer features that the model was trained on; prepare the molecules as"
    with pytest.raises(DataError, match=said):
        predict(asked(model, stored(tmp_path / "store", fewer), tmp_path / "p.parquet"))
    assert not (tmp_path / "p.parquet").exists()


def test_what_is_not_finite_is_listed_with_its_column_and_the_rest_is_predicted(
    model: Path, new: tuple[Path, BagData], tmp_path: Path
) -> None:
    bags = dataclasses.replace(new[1], x2d=new[1].x2d.clone(), xinst=new[1].xinst.clone())
    bags.x2d[4, 2] = np.inf
    bags.xinst[int(bags.offsets[7]) + 3, 1] = np.nan
    bags.xinst[int(bags.offsets[7]) + 5, 4] = np.nan
    lines = predict(asked(model, stored(tmp_path / "store", bags), tmp_path / "p.parquet", attn_out=tmp_path / "a.parquet"))
    left = pd.read_csv(tmp_path / "p.left_out.csv")
    assert left[["ID", "reason", "detail"]].to_numpy().tolist() == [["M4", "not_finite", "d2"], ["M7", "not_finite", "g1"]]
    assert f"2 not predicted (not finite 2): {tmp_path / 'p.left_out.csv'}" in lines
    predict(asked(model, new[0], tmp_path / "q.parquet"))
    whole = read(tmp_path / "q.parquet").drop(index=[4, 7]).reset_index(drop=True)
    assert read(tmp_path / "p.parquet")["ID"].tolist() == whole["ID"].tolist()
    np.testing.assert_allclose(read(tmp_path / "p.parquet")[PRED], whole[PRED], atol=1e-6)
    assert len(read(tmp_path / "a.parquet")) == SIZES.sum() - SIZES[4] - SIZES[7]


def test_a_model_that_imputes_predicts_what_is_not_finite(new: tuple[Path, BagData], tmp_path: Path) -> None:
    from milbench.run_config import FinalTrainConfig
    from milbench.training.final import MILFinalTrainer
    from predicting import CONFIG, CPU

    MILFinalTrainer(
        final_data(real_bags(), impute="median"), CONFIG, FinalTrainConfig(max_epochs=1, runtime=CPU), tmp_path / "study"
    ).run()
    bags = dataclasses.replace(new[1], x2d=new[1].x2d.clone())
    bags.x2d[4, 2] = np.inf
    predict(asked(tmp_path / "study", stored(tmp_path / "store", bags), tmp_path / "p.parquet"))
    assert np.isfinite(read(tmp_path / "p.parquet")[PRED]).all(axis=None)
    assert not (tmp_path / "p.left_out.csv").exists()


def test_nothing_that_can_be_predicted_leaves_an_empty_table_and_the_reasons(
    model: Path, new: tuple[Path, BagData], tmp_path: Path
) -> None:
    bags = dataclasses.replace(new[1], x2d=torch.full_like(new[1].x2d, torch.nan))
    predict(asked(model, stored(tmp_path / "store", bags), tmp_path / "p.parquet", attn_out=tmp_path / "a.parquet"))
    assert len(read(tmp_path / "p.parquet")) == len(read(tmp_path / "a.parquet")) == 0
    assert len(pd.read_csv(tmp_path / "p.left_out.csv")) == 20


def test_a_model_of_tables_predicts_tables(tmp_path: Path) -> None:
    tables = make_tables(tmp_path / "tables", 80)
    bags = load_tables(tables.labels, tables.feat2d, tables.instances, EUOS25)
    model = trained(tmp_path / "study", bags)
    config = asked(model, tables.feat2d, tmp_path / "p.parquet", instances=tables.instances)
    predict(config)
    table = read(tmp_path / "p.parquet")
    wanted = load_checkpoint(model / "best_model.ckpt").evaluator(bags).predict(np.arange(80)).probability
    assert table["ID"].tolist() == bags.ids.tolist()
    np.testing.assert_allclose(table[PRED], wanted, atol=1e-6)
    assert not [name for name in table if name.startswith(("label_", "nearest"))]
    with pytest.raises(ConfigError, match=r"how to make its features is not known; give tables with its 6 \+ 9 columns"):
        predict(dataclasses.replace(config, source=tables.labels, instances=(), out=tmp_path / "q.parquet"))
    assert not (tmp_path / "q.parquet.work").exists()  # so that the mended command line is not refused


# the domain


def test_the_nearest_training_molecule_is_the_one_that_rdkit_finds(
    model: Path, new: tuple[Path, BagData], tmp_path: Path
) -> None:
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    predict(asked(model, new[0], tmp_path / "p.parquet"))
    table, bags = read(tmp_path / "p.parquet"), real_bags()
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    there = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in bags.smiles[bags.split == "train"]]
    for row, text in zip(table.itertuples(), nci_smiles(100)[80:], strict=True):
        found = DataStructs.BulkTanimotoSimilarity(generator.GetFingerprint(Chem.MolFromSmiles(text)), there)
        assert row.nearest_similarity == pytest.approx(max(found))
        assert row.nearest_id == bags.ids[int(np.argmax(found))]
    threshold = read_json(model / "model.json")["applicability"]["threshold"]
    assert table["in_domain"].equals(table["nearest_similarity"] >= threshold)
    assert 0 < table["in_domain"].sum() < 20
    predict(asked(model, new[0], tmp_path / "q.parquet", min_similarity=0.0))
    assert read(tmp_path / "q.parquet")["in_domain"].all()


def test_a_training_molecule_is_its_own_neighbour(model: Path, tmp_path: Path) -> None:
    predict(asked(model, stored(tmp_path / "store", real_bags()), tmp_path / "p.parquet"))
    table = read(tmp_path / "p.parquet")
    assert (table["nearest_similarity"][:40] == 1).all() and table["in_domain"][:40].all()
    assert (table["nearest_id"][:40] == table["ID"][:40]).all()
    assert set(table["nearest_id"]) <= set(table["ID"][:40])  # the leaderboard is not trained on


def test_without_structures_the_domain_is_not_known_and_said_so(
    model: Path, new: tuple[Path, BagData], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nameless = dataclasses.replace(new[1], smiles=None)
    with caplog.at_level("INFO", "milbench"):
        predict(asked(model, stored(tmp_path / "store", nameless), tmp_path / "p.parquet", block=5))
    assert caplog.text.count("applicability: not known, since the molecules have no SMILES") == 1
    assert "in_domain" not in read(tmp_path / "p.parquet")


def test_a_structure_that_cannot_be_read_is_outside_the_domain(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    bags = dataclasses.replace(new[1], smiles=new[1].smiles.copy())
    bags.smiles[3], bags.smiles[4] = None, "no structure"
    predict(asked(model, stored(tmp_path / "store", bags), tmp_path / "p.parquet"))
    table = read(tmp_path / "p.parquet")
    assert not table["in_domain"][3:5].any()
    assert table["nearest_similarity"].isna().tolist() == [i in (3, 4) for i in range(20)]
    assert table["nearest_id"][3:5].tolist() == ["", ""]


# again


def stopped_after(blocks: int, patch: pytest.MonkeyPatch) -> list[int]:
    """Let the prediction of further blocks fail; gives the list of the blocks' starts, which fills as they are predicted."""
    starts: list[int] = []
    whole = Predictor.tables

    def tables(self: Predictor, start: int, stop: int, attention: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
        if len(starts) == blocks:
            raise MilbenchError("stopped", "in the middle")
        starts.append(start)
        return whole(self, start, stop, attention)

    patch.setattr(Predictor, "tables", tables)
    return starts


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_prediction_that_was_stopped_goes_on_and_gives_the_same_bytes(
    model: Path, new: tuple[Path, BagData], tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    def config(folder: str):  # type: ignore[no-untyped-def]
        out = tmp_path / folder / f"p{suffix}"
        return asked(model, new[0], out, block=6, attn_out=tmp_path / folder / f"attention{suffix}")

    predict(config("a"))
    with pytest.MonkeyPatch.context() as patch:
        assert stopped_after(2, patch) == []
        with pytest.raises(MilbenchError, match="in the middle"):
            predict(config("b"))
    assert not (tmp_path / "b" / f"p{suffix}").exists()
    with pytest.MonkeyPatch.context() as patch:
        starts = stopped_after(9, patch)
        predict(config("b"))
    assert starts == [12, 18]
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    for made in (a, b):
        made["p.about.json"] = made["p.about.json"].replace(str(tmp_path).encode(), b"")
    assert a == b
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(a)


def test_a_finished_prediction_is_left_as_it_is_and_another_is_refused(
    model: Path, new: tuple[Path, BagData], tmp_path: Path
) -> None:
    config = asked(model, new[0], tmp_path / "p.parquet")
    lines = predict(config)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert predict(config) == lines[:-1]  # all but the speed
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    with pytest.raises(ConfigError, match=r"p.about.json: was made with other settings: settings\.block was 4096, now 7"):
        predict(dataclasses.replace(config, block=7))
    other = stored(tmp_path / "other", real_bags(10))
    with pytest.raises(ConfigError, match=r"was made with other settings: input\.store was 'made up 20', now 'made up 10'"):
        predict(dataclasses.replace(config, source=other))


def test_unfinished_work_of_other_settings_is_refused(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    config = asked(model, new[0], tmp_path / "p.parquet", block=6)
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(1, patch)
        with pytest.raises(MilbenchError, match="in the middle"):
            predict(config)
    with pytest.raises(ConfigError, match=r"p.parquet.work: was made with other settings: settings\.block was 6, now 8"):
        predict(dataclasses.replace(config, block=8))


@pytest.mark.parametrize("name", ["p.parquet", "a.csv", "kept.store"])
def test_a_file_that_is_there_already_is_not_overwritten(
    model: Path, new: tuple[Path, BagData], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    config = asked(model, new[0], tmp_path / "p.parquet", attn_out=tmp_path / "a.csv", store=tmp_path / "kept.store")
    with pytest.raises(DataError, match=rf"{name}: is there already; choose another name, or move it away first"):
        predict(config)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_about_says_from_what_and_how_the_predictions_were_made(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    predict(asked(model, new[0], tmp_path / "p.parquet"))
    about = json.loads((tmp_path / "p.about.json").read_text())
    assert about["made_from"] == {"models": [str(model)], "input": str(new[0])}
    assert about["counts"]["rows"] == about["counts"]["predicted"] == 20
    assert about["asked"]["input"] == {"store": "made up 20"}
    assert {"milbench", "torch", "numpy"} <= about["asked"]["versions"].keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"out": Path("p.txt")}, r"--out: got '\.txt', want \.parquet or \.csv"),
        ({"attn_out": Path("a")}, r"--attn_out: got 'a', want \.parquet or \.csv"),
        ({"attn_out": Path("p.csv")}, "--attn_out: is --out too"),
        ({"block": 0}, "--block: got 0, want 1 or more"),
        ({"min_similarity": 1.5}, r"--min_similarity: got 1\.5, want 0 to 1"),
        ({"processes": 0}, "--processes: got 0, want 1 or more"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        asked(Path("model"), Path("store"), **{"out": Path("p.csv"), **changes})


def test_a_device_that_is_not_there_is_refused(model: Path, new: tuple[Path, BagData], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--nn_accelerator: got 'tpu', want auto, cpu or gpu"):
        predict(asked(model, new[0], tmp_path / "p.parquet", nn_accelerator="tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="--nn_accelerator: no CUDA device found, got 'gpu'"):
            predict(asked(model, new[0], tmp_path / "p.parquet", nn_accelerator="gpu"))


def test_predicting_loads_no_lightning() -> None:
    import subprocess
    import sys

    code = "import sys, milbench.predict; print('lightning' in sys.modules, 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


def test_a_store_of_the_same_molecules_read_whole_and_in_stretches_is_the_same(new: tuple[Path, BagData]) -> None:
    from milbench.data.store_blocks import StoreBlocks

    whole, _ = load_store(new[0])
    blocks = StoreBlocks(new[0])
    for start, stop in ((0, 20), (0, 1), (1, 2), (5, 14), (19, 20)):
        part, index = blocks.bags(start, stop), torch.arange(start, stop)
        assert part.ids.tolist() == whole.ids[start:stop].tolist()
        assert torch.equal(part.gather(torch.arange(stop - start)).xinst, whole.gather(index).xinst)
        assert torch.equal(part.x2d, whole.x2d[start:stop])
        assert part.conf_ids.tolist() == whole.conf_ids[int(whole.offsets[start]) : int(whole.offsets[stop])].tolist()
        np.testing.assert_array_equal(part.raw.w, whole.raw.w[start:stop])
        assert part.smiles is not None and whole.smiles is not None
        assert part.smiles.tolist() == whole.smiles[start:stop].tolist()
