"""Several final models in one folder: each with its own seed and fold, reported as one; and the card that says so."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from milbench.configs import HPOConfig
from milbench.errors import ConfigError
from milbench.metrics import evaluate
from milbench.pipeline import MILPipelineOrchestrator
from milbench.report import final_lines
from milbench.run_config import FINAL_FOLDER, FinalTrainConfig
from milbench.tasks import EUOS25
from milbench.testing import make_tables
from milbench.training.ensemble import load_model
from milbench.training.final import MILFinalTrainer
from milbench.training.fold import MILFoldTrainer
from predicting import CONFIG, CPU, PRED, final_data, real_bags
from runs import config_for, same_weights


def train(folder: Path, members: int, data: Any = None, config: HPOConfig = CONFIG, **changes: Any) -> dict[str, Any]:
    final = FinalTrainConfig(**{"max_epochs": 2, "runtime": CPU, "ensemble": members, **changes})
    return MILFinalTrainer(data or final_data(real_bags()), config, final, folder).run()


def state(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study folder with an ensemble of four over three inner folds, and its report."""
    folder = tmp_path_factory.mktemp("four")
    return folder, train(folder, 4)


def test_members_have_folds_and_seeds_of_their_own_and_the_first_is_the_single_model(
    four: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, report = four
    members = [folder / FINAL_FOLDER / "members" / str(i) / "best_model.ckpt" for i in range(4)]
    assert [one["fold"] for one in report["members"]] == [0, 1, 2, 0]
    assert len({one["seed"] for one in report["members"]}) == 4
    train(tmp_path, 1)
    assert same_weights(state(members[0]), state(tmp_path / FINAL_FOLDER / "best_model.ckpt"))
    assert not same_weights(state(members[0]), state(members[3]))
    assert not (folder / FINAL_FOLDER / "best_model.ckpt").exists()


def test_the_leaderboard_is_reported_once_for_the_mean_of_all(four: tuple[Path, dict[str, Any]]) -> None:
    folder, report = four
    data, model = final_data(real_bags()), load_model(folder)
    rows = data.leaderboard
    each = np.stack([member.evaluator(data.bags).predict(rows).probability for member in model.members])
    table = pd.read_parquet(folder / FINAL_FOLDER / "leaderboard_predictions.parquet")
    np.testing.assert_allclose(table[PRED], each.mean(axis=0), atol=1e-12)
    wanted = evaluate(data.bags.raw.y[rows], each.mean(axis=0), data.bags.raw.w[rows], EUOS25)
    assert report["leaderboard"] == wanted.to_dict()


def test_what_monitored_a_member_is_predicted_by_that_member_alone(four: tuple[Path, dict[str, Any]]) -> None:
    folder, report = four
    data, model = final_data(real_bags()), load_model(folder)
    probability = np.full((40, 4), np.nan)
    for fold in range(3):
        rows = np.flatnonzero(data.fold_of[:40] == fold)
        own = [member for i, member in enumerate(model.members) if i % 3 == fold]
        probability[rows] = np.mean([member.evaluator(data.bags).predict(rows).probability for member in own], axis=0)
    wanted = evaluate(data.bags.raw.y[:40], probability, data.bags.raw.w[:40], EUOS25)
    assert report["monitored"]["macro_ap"] == pytest.approx(wanted.macro_ap)
    lines = "\n".join(final_lines(report, folder))
    assert "Monitored (inner), mean of 4 models, each on what monitored it:" in lines


def test_a_larger_ensemble_keeps_the_members_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings: list[int] = []
    whole = MILFoldTrainer.train

    def counted(self: MILFoldTrainer, *args: Any, **kwargs: Any) -> Any:
        trainings.append(1)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(MILFoldTrainer, "train", counted)
    train(tmp_path, 2)
    assert len(trainings) == 2
    train(tmp_path, 2)
    assert len(trainings) == 2
    train(tmp_path, 3)
    assert len(trainings) == 3
    assert len(load_model(tmp_path).members) == 3
    train(tmp_path, 3, max_epochs=1)
    assert len(trainings) == 6


def test_an_interrupted_ensemble_is_no_model_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def hook(member: int, epoch: object) -> None:
        seen.append(member)
        if member == 1 and stopping:
            raise Stop

    final = FinalTrainConfig(max_epochs=2, runtime=CPU, ensemble=3)
    trainer = MILFinalTrainer(final_data(real_bags()), CONFIG, final, tmp_path)
    seen: list[int] = []
    stopping = True
    with pytest.raises(Stop):
        trainer.run(hook)
    assert (tmp_path / FINAL_FOLDER / "members" / "0" / "best_model.ckpt").is_file()
    assert not (tmp_path / FINAL_FOLDER / "model.json").exists()
    seen, stopping = [], False
    trainer.run(hook)
    assert set(seen) == {1, 2}
    assert len(load_model(tmp_path).members) == 3


def test_one_model_after_an_ensemble_leaves_no_members_behind(tmp_path: Path) -> None:
    train(tmp_path, 2)
    train(tmp_path, 1)
    assert not (tmp_path / FINAL_FOLDER / "members").exists()
    assert len(load_model(tmp_path).members) == 1
    train(tmp_path, 2)
    assert not (tmp_path / FINAL_FOLDER / "best_model.ckpt").exists()
    assert len(load_model(tmp_path).members) == 2


def test_molecules_without_a_fold_are_trained_on_by_all_and_monitor_none() -> None:
    data = final_data(real_bags())
    data.fold_of[:3] = 9
    data = dataclasses.replace(data, monitors=(0, 1, 2))
    assert [data.inner(i) for i in range(4)] == [0, 1, 2, 0]
    assert all({0, 1, 2} <= set(data.fold("inner", i).train) for i in range(4))


def test_a_run_asks_for_an_ensemble_by_one_flag(tmp_path: Path) -> None:
    tables = make_tables(tmp_path / "tables", 60)
    config = config_for(tables, tmp_path / "study", trials=1, max_epochs=1, ensemble=2)
    report = MILPipelineOrchestrator(config).run()
    assert [one["fold"] for one in report["members"]] == [0, 1]
    lines = [json.loads(line) for line in (tmp_path / "study" / "metrics.jsonl").read_text().splitlines()]
    assert [line["member"] for line in lines if line["trial"] == "final"] == [0, 1]
    assert len(load_model(tmp_path / "study").members) == 2


def test_an_ensemble_of_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="--ensemble: got 0, want 1 or more"):
        FinalTrainConfig(ensemble=0)


# what the folder says of itself


def test_the_card_says_what_is_predicted_from_what_how_well_and_where_it_ends(four: tuple[Path, dict[str, Any]]) -> None:
    folder, report = four
    card = (folder / FINAL_FOLDER / "model_card.md").read_text()
    y = real_bags().raw.y[:40]
    for t, name in enumerate(EUOS25.names):
        assert f"| {name} | 40 | {int(y[:, t].sum())} | {100 * y[:, t].mean():.3g} % |" in card
        assert f"| {name} | {report['leaderboard']['tasks'][name]['ap']:.3f} |" in card
    for said in (
        "An ensemble of 4 models",
        "from 5 2D descriptors and 6 features of each conformer",
        "Trained on 40 molecules",
        "the inner folds that chose the members' epochs, so slightly optimistic",
        "Leaderboard (seen by no training and reported once)",
        "no calibrated frequency",
        "the nearest of 40 training molecules",
        "The features came in tables",
        "milbench predict THIS_FOLDER new.store",
        f"torch {torch.__version__}",
    ):
        assert said in card, said
    assert "imulated" not in card


def test_a_card_of_simulated_data_says_so_twice(tmp_path: Path) -> None:
    about = {"simulated": True, "about": "SIMULATED endpoints on real molecules."}
    train(tmp_path, 1, final_data(real_bags(provenance=about)))
    card = (tmp_path / FINAL_FOLDER / "model_card.md").read_text()
    assert "**The endpoints are simulated.** SIMULATED endpoints on real molecules." in card
    assert "these scores say nothing about an assay" in card


def test_a_card_of_a_model_that_the_leaderboard_stopped_says_so(tmp_path: Path) -> None:
    train(tmp_path, 1, monitor="leaderboard")
    card = (tmp_path / FINAL_FOLDER / "model_card.md").read_text()
    assert "training was stopped by the leaderboard that it reports: this score is optimistic" in card
    assert "seen by no training" not in card


def test_without_structures_and_leaderboard_the_card_names_what_is_not_known(tmp_path: Path) -> None:
    bags = real_bags(smiles=None)
    data = dataclasses.replace(final_data(bags), leaderboard=np.array([], dtype=np.int64))
    train(tmp_path, 1, data)
    card = (tmp_path / FINAL_FOLDER / "model_card.md").read_text()
    assert "No molecules were set apart for a final report." in card
    assert "Where it applies is not known" in card
    assert json.loads((tmp_path / FINAL_FOLDER / "model.json").read_text())["applicability"] is None


def test_the_models_json_has_all_that_other_programs_need(four: tuple[Path, dict[str, Any]]) -> None:
    about = json.loads((four[0] / FINAL_FOLDER / "model.json").read_text())
    bags = real_bags()
    assert about["members"] == [f"members/{i}/best_model.ckpt" for i in range(4)]
    assert (about["features_2d"], about["features_3d"]) == (list(bags.names2d), list(bags.names_inst))
    assert [endpoint["name"] for endpoint in about["tasks"]["endpoints"]] == list(EUOS25.names)
    assert about["content"] == "made up 60" and about["params"]["batch_size"] == 32
    assert about["config"]["backbone"]["mol_dim"] == 5
    assert {"milbench", "torch", "rdkit"} <= about["versions"].keys()
