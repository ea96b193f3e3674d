"""Folds that keep groups together: never split, balanced, refused where a task would lack positives; and their report."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milbench.chem.scaffolds import each, fingerprint, murcko_scaffold, twin_keys
from milbench.columns import Columns
from milbench.data.fold_report import fold_report
from milbench.data.folds import check_positives, group_folds
from milbench.data.grouping import FoldPlan, cluster, make_folds
from milbench.data.labelled import Labelled, labelled
from milbench.data.tables import from_frame
from milbench.data_commands import FoldsConfig, run_folds
from milbench.errors import ConfigError, DataError

RINGS = ("c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccc2ccccc2c1", "c1ccsc1", "C1CCNCC1")
TAILS = ("C", "CC", "CCC", "CO", "CCO", "CN", "OC", "CS")


def molecules(n: int = 48, seed: int = 0, **columns) -> Labelled:
    """Six ring systems with eight tails each, two endpoints."""
    rng = np.random.default_rng(seed)
    smiles = [f"{TAILS[i % 8]}{RINGS[i // 8 % 6]}" for i in range(n)]
    frame = pd.DataFrame({"ID": [f"M{i}" for i in range(n)], "smiles": smiles, **columns})
    for t in range(2):
        frame[f"assay_{t}"] = (rng.random(n) < 0.4).astype(float)
    return labelled(from_frame(frame, "labels"), ["assay_0", "assay_1"], ("assay_0", "assay_1"), Columns())


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(12, 60))
def test_a_group_is_never_split_and_every_molecule_has_a_fold(seed, n_folds, n_groups):
    rng = np.random.default_rng(seed)
    groups = rng.integers(n_groups, size=400)
    y = np.where(rng.random((400, 3)) < 0.1, np.nan, (rng.random((400, 3)) < [0.3, 0.1, 0.03]).astype(float))
    fold = group_folds(groups, y, n_folds, seed)
    assert set(fold) <= set(range(n_folds))
    assert all(len(np.unique(fold[groups == g])) == 1 for g in np.unique(groups))
    assert (fold == group_folds(groups, y, n_folds, seed)).all()


@given(st.integers(0, 1000))
def test_many_small_groups_share_out_every_label_and_size_evenly(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(600, size=3000)
    y = (rng.random((3000, 3)) < [0.2, 0.05, 0.01]).astype(float)
    fold = group_folds(groups, y, 5, seed)
    sizes = np.bincount(fold, minlength=5)
    assert sizes.max() - sizes.min() <= 0.02 * 600
    for t in range(3):
        positives = np.bincount(fold[y[:, t] == 1], minlength=5)
        assert positives.max() - positives.min() <= max(2, 0.1 * positives.mean())


def test_a_giant_group_gets_a_fold_and_the_rest_is_shared():
    groups = np.where(np.arange(1000) < 400, -1, np.arange(1000))
    fold = group_folds(groups, np.zeros((1000, 1)), 4)
    assert sorted(np.bincount(fold).tolist()) == [200, 200, 200, 400]


def test_a_fold_that_lacks_positives_is_refused_by_name():
    y = np.zeros((20, 2))
    y[:10, 0], y[0, 1] = 1, 1
    with pytest.raises(DataError, match=r"rare has 0 positives in fold \d \(1 in all\), want 1 or more"):
        check_positives(np.arange(20) % 4, y, ["common", "rare"], 1)
    check_positives(np.arange(20) % 4, y, ["common", "rare"], 0)


def test_more_folds_than_groups_are_refused():
    with pytest.raises(DataError, match="want 2 to 3"):
        group_folds(np.arange(9) % 3, np.zeros((9, 1)), 4)


def test_a_scaffold_is_the_rings_and_an_acyclic_molecule_is_its_own():
    assert murcko_scaffold("CCc1ccccc1") == murcko_scaffold("Oc1ccccc1.Cl") == "c1ccccc1"
    assert murcko_scaffold("OCC") == murcko_scaffold("CCO") == "CCO"
    assert murcko_scaffold("CCO") != murcko_scaffold("CCN")
    assert murcko_scaffold("no molecule") == "no molecule"


def test_twins_share_a_key_however_they_are_written():
    same = ["CC(=O)O", "OC(C)=O", "CC(=O)[O-].[Na+]"]
    keys = twin_keys([*same, "CC(O)CN", "NC[C@@H](C)O", "NC[C@H](C)O", "x"])
    assert len(set(keys[:3])) == 1
    assert len(set(keys[3:6])) == 3
    assert keys[6] == ""


def test_every_scaffold_stays_in_one_fold():
    data = molecules()
    fold, report = make_folds(data, FoldPlan(by="scaffold", n_folds=3))
    scaffolds = np.array([murcko_scaffold(text) for text in data.smiles])
    assert all(len(np.unique(fold[scaffolds == s])) == 1 for s in set(scaffolds))
    assert report.groups.sum() == len(set(scaffolds))
    assert report.largest_group.max() == 8


def test_scaffold_folds_are_farther_from_training_than_random_ones():
    data = molecules(48)
    near = {by: make_folds(data, FoldPlan(by=by, n_folds=3))[1].similarity.mean() for by in ("scaffold", "stratified")}
    assert near["scaffold"] < near["stratified"]


def test_clusters_hold_analogues():
    smiles = [f"{tail}{ring}" for ring in ("c1ccc2ccccc2c1", "C1CCNCC1C(=O)O") for tail in TAILS]
    found = cluster(np.stack(each(fingerprint, smiles)), 2, seed=3)
    assert len(set(found[:8])) == len(set(found[8:])) == 1
    assert found[0] != found[8]


def test_a_column_keeps_its_values_together_and_the_empty_ones_apart():
    data = molecules(plate=["P1", "P2", "P3", "P4", ""] * 9 + ["P1", "P2", "P3"])
    fold, report = make_folds(data, FoldPlan(by="plate", n_folds=2, sample=0))
    plates = data.cells("plate")
    assert all(len(np.unique(fold[plates == p])) == 1 for p in ("P1", "P2", "P3", "P4"))
    assert report.groups.sum() == 4 + 9
    assert np.isnan(report.similarity).all()


def test_an_unknown_way_lists_what_there_is():
    with pytest.raises(ConfigError, match="stratified, scaffold, cluster, or a column of labels"):
        make_folds(molecules(), FoldPlan(by="plaet", sample=0))


def test_the_report_counts_and_finds_the_nearest_molecule():
    prints = np.packbits(np.eye(16, 1024, dtype=bool), axis=1)
    prints[8:] = prints[:8]
    fold = np.repeat([0, 1], 8)
    report = fold_report(fold, np.ones((16, 1)), ["a"], np.arange(16), prints)
    assert report.similarity.tolist() == [1, 1] and report.near.tolist() == [1, 1] and report.sampled.tolist() == [8, 8]
    assert report.positives.ravel().tolist() == [8, 8]
    assert fold_report(np.arange(16) // 2 % 2, np.ones((16, 1)), ["a"], np.arange(16), prints).similarity.tolist() == [0, 0]
    assert len(report.lines()) == 1 + 2 and len(report.table()) == 2


def test_the_command_writes_a_fold_column_for_the_splits_asked_for(tmp_path: Path):
    frame = molecules(split=["train"] * 40 + ["test"] * 8).table.frame()
    frame.to_csv(tmp_path / "labels.csv", index=False)
    tasks = tmp_path / "tasks.json"
    tasks.write_text('{"name": "two", "endpoints": [{"name": "assay_0"}, {"name": "assay_1"}]}')
    config = FoldsConfig(tmp_path / "labels.csv", tmp_path / "out.parquet", by="scaffold", folds=2, tasks=str(tasks))
    lines, status = run_folds(config)
    fold = pd.read_parquet(tmp_path / "out.parquet")["cv_fold"]
    assert status == 0 and "8 molecules of other splits have none" in lines[-1]
    assert set(fold[:40]) == {0, 1} and set(fold[40:]) == {-1}
