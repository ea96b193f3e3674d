"""`milbench.testing.make_tables`: small tables for any task set, from which a tiny model learns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from builders import make_tasks, tiny_config
from milbench import testing
from milbench.data.assemble import load_tables
from milbench.data.cv import MILCVData
from milbench.data.folds import stratified_folds
from milbench.errors import ConfigError
from milbench.metrics import evaluate
from milbench.models import MILModelBuilder, contracts
from milbench.tasks import EUOS25, TaskSet


def test_the_contract_checks_are_the_ones_that_registration_runs() -> None:
    for name in ("check_aggregator", "check_embedder", "check_predictor"):
        assert getattr(testing, name) is getattr(contracts, name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "tasks", [EUOS25, make_tasks(1), make_tasks(3, 2, 0), make_tasks(7, 0, 1)], ids=lambda tasks: str(len(tasks))
)
def test_tables_of_any_task_set_load_without_a_complaint(tmp_path: Path, tasks: TaskSet, suffix: str) -> None:
    tables = testing.make_tables(tmp_path, 50, tasks, suffix=suffix, aux_missing=0.3)
    bags = load_tables(tables.labels, tables.feat2d, tables.instances, tasks)
    assert bags.notes == ()
    assert len(bags) == 50
    assert bags.raw.y.shape == (50, len(tasks))
    assert bags.raw.abs.shape[1] == len(tasks.aux_abs)
    assert bags.raw.fluo.shape[1] == len(tasks.aux_fluo)
    if tasks.aux_abs:
        assert 0.1 < np.isnan(bags.raw.abs).mean() < 0.5
    assert bags.bag_sizes.min() >= 1
    assert bags.bag_sizes.max() <= 6
    for split in ("train", "leaderboard"):
        assert ((bags.raw.y[bags.split == split] == 1).sum(axis=0) >= 3).all()


def test_the_same_arguments_write_the_same_tables_and_another_seed_others(tmp_path: Path) -> None:
    frames = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tables = testing.make_tables(tmp_path / name, 30, seed=seed)
        frames.append(pd.read_parquet(tables.feat3d))
    pd.testing.assert_frame_equal(frames[0], frames[1])
    assert not frames[0].equals(frames[2])


def test_shares_and_bag_sizes_are_what_was_asked_for(tmp_path: Path) -> None:
    tables = testing.make_tables(tmp_path, 80, conformers=(2, 9), leaderboard=0.5, aux_missing=0.0)
    labels = pd.read_parquet(tables.labels)
    assert (labels["split"] == "leaderboard").sum() == 40
    assert not labels.isna().any().any()
    sizes = pd.read_parquet(tables.feat3d).groupby("ID").size()
    assert (sizes.min(), sizes.max()) == (2, 9)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"make_tables: suffix, got '\.xlsx'"):
        testing.make_tables(tmp_path, suffix=".xlsx")


@pytest.mark.parametrize("tasks", [EUOS25, make_tasks(1)], ids=lambda tasks: str(len(tasks)))
def test_a_tiny_model_learns_from_the_key_conformer(tmp_path: Path, tasks: TaskSet) -> None:
    tables = testing.make_tables(tmp_path, 120, tasks)
    bags = load_tables(tables.labels, tables.feat2d, tables.instances, tasks)
    fold = MILCVData(bags, stratified_folds(bags.raw.y, 3), tasks).fold(0)
    config = tiny_config(tasks, inst_hidden=16, mixer_hidden=16)
    model, targets, sampler = MILModelBuilder(0).build(config, fold), fold.targets(config.loss), fold.sampler(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for epoch in range(30):
            sampler.set_epoch(epoch)
            for index in sampler:
                optimizer.zero_grad()
                model.loss(fold.batch(index, targets)).total.backward()
                optimizer.step()
    with torch.no_grad():
        out = model.eval().forward_bags(fold.batch(torch.from_numpy(fold.val)))
    got = evaluate(bags.raw.y[fold.val], out.logits.numpy(), bags.raw.w[fold.val], tasks)
    assert (got.ap > 1.3 * got.prevalence).all()
    assert got.macro_ap > 2.2 * got.prevalence.mean()


def test_the_key_conformer_is_where_the_signal_is(tmp_path: Path) -> None:
    tables = testing.make_tables(tmp_path, 200)
    labels, geometry = pd.read_parquet(tables.labels), pd.read_parquet(tables.feat3d)
    highest, mean = geometry.groupby("ID").max(), geometry.groupby("ID").mean(numeric_only=True)
    y = labels[list(EUOS25.names)].to_numpy()
    zeros = np.ones_like(y, dtype=float)
    best = evaluate(y, highest.iloc[:, 1:5].to_numpy(), zeros, EUOS25)
    blurred = evaluate(y, mean.iloc[:, 1:5].to_numpy(), zeros, EUOS25)
    assert best.min_ap > 0.9
    assert blurred.macro_ap < best.macro_ap
