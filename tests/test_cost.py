"""What a study would cost is timed once, kept, and the rest is arithmetic."""

import dataclasses
from pathlib import Path

import pytest

from builders import make_bags
from milbench.cli import main
from milbench.cost import COST, Cost, cost_folder, duration, read_cost
from milbench.data.store import save_store
from milbench.errors import DataError
from milbench.launch import LaunchPlan
from milbench.tasks import EUOS25
from runs import FIX

COSTS = Cost(molecules=960, steps=4, epoch_s=2.0, memory_mb=512.0, batch_size=256, folds=5, device="2 cores")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_store(tmp_path_factory.mktemp("cost") / "store", make_bags(120), EUOS25, provenance={})


def test_a_study_is_its_trials_folds_and_epochs_over_its_workers() -> None:
    rows = {what: (value, of) for what, value, of in COSTS.rows(trials=10, max_epochs=30, workers=4)}
    assert rows["An epoch of a fold"] == ("2 s", "4 batches of 256, and the validation")
    assert rows["A fold"] == ("1 min", "30 epochs")
    assert rows["A trial"] == ("5 min", "5 folds")
    assert rows["The study"] == ("15 min", "10 trials, 4 at a time")  # in three rounds
    assert rows["Memory"] == ("2.0 GiB", "4 workers")


def test_a_time_is_told_in_its_largest_unit() -> None:
    assert [duration(s) for s in (0.04, 1.5, 59, 90, 5400, 200_000)] == [
        "40 ms",
        "1.5 s",
        "59 s",
        "1.5 min",
        "1.5 h",
        "2.31 days",
    ]


def test_plans_whose_epochs_are_the_same_share_their_timing(store: Path, tmp_path: Path) -> None:
    plan = LaunchPlan(store, tmp_path / "a", fix=("batch_size=64",))
    same = dataclasses.replace(plan, study_dir=tmp_path / "b", trials=7, max_epochs=9, patience=2, min_w=0.5)
    assert cost_folder(tmp_path, plan) == cost_folder(tmp_path, same)
    others = [
        {"fix": ("batch_size=32",)},
        {"folds": 3},
        {"workers": 2},
        {"precision": "bf16-mixed"},
        {"range": ("lr=1e-4:1e-3",)},
    ]
    folders = {cost_folder(tmp_path, dataclasses.replace(plan, **other)) for other in others}
    assert len(folders | {cost_folder(tmp_path, plan)}) == len(others) + 1


def test_the_command_times_an_epoch_and_leaves_nothing_but_what_it_found(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--folds", "2", "--trials", "3", "--max_epochs", "10", "--nn_accelerator", "cpu", "--fix", *FIX]
    assert main(["cost", "--store", str(store), "--json", str(tmp_path / COST), *flags]) == 0
    said = capsys.readouterr().out
    assert "3 trials, one after the other" in said
    assert "one fold after the other" in said
    found = read_cost(tmp_path)
    assert found is not None
    assert (found.folds, found.batch_size, found.steps) == (2, 32, -(-found.molecules // 32))
    assert found.epoch_s > 0
    assert [path.name for path in tmp_path.iterdir()] == [COST]


def test_what_is_no_timing_is_refused(tmp_path: Path) -> None:
    assert read_cost(tmp_path) is None
    (tmp_path / COST).write_text('{"epoch_s": 1}')
    with pytest.raises(DataError, match="is not what `milbench cost` writes"):
        read_cost(tmp_path)
