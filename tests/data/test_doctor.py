"""The doctor: each planted fault is found and named, clean data raise no alarm, and the status says how grave it is."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import make_bags
from milbench.columns import Columns
from milbench.data.doctor import Examination, Features, Habits, Patient, examine, open_tables
from milbench.data.doctor_features import survey
from milbench.data.doctor_plates import plate_only_ap
from milbench.data.euos25 import import_euos25
from milbench.data.finding import Finding
from milbench.data.labelled import labelled, read_labelled
from milbench.data.store import save_store
from milbench.data.tables import from_frame
from milbench.data_commands import DoctorConfig, run_doctor
from milbench.errors import ConfigError
from milbench.tasks import EUOS25
from milbench.testing import make_tables

REAL = Path(__file__).parents[3] / "shared" / "data" / "euos25"
EIGHT = ["42", "44", "47", "49", "50", "66", "92", "95"]
RATES = (0.3, 0.12, 0.07)


def patient(
    seed: int = 0,
    n: int = 1500,
    change: Callable[[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray], None] | None = None,
    per_bag: int = 4,
) -> Patient:
    """Noise: molecules with IDs in plates of 50, three endpoints, 6 + 5 unscaled features; `change` plants a fault."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"ID": np.arange(1, n + 1), "split": np.where(rng.random(n) < 0.7, "train", "leaderboard")})
    for t, rate in enumerate(RATES):
        frame[f"t{t}"] = (rng.random(n) < rate).astype(float)
    offsets = np.arange(n + 1) * per_bag
    x2d, xinst = rng.normal(3, 2, (n, 6)).astype(np.float32), rng.normal(-1, 5, (n * per_bag, 5)).astype(np.float32)
    if change is not None:
        change(frame, x2d, xinst, offsets)
    names = tuple(f"t{t}" for t in range(len(RATES)))
    molecules = labelled(from_frame(frame, "labels"), names, names, Columns())
    features = Features(x2d, tuple(f"d{j}" for j in range(6)), xinst, tuple(f"g{j}" for j in range(5)), offsets)
    return Patient(molecules, features)


def looked_at(change=None, seed: int = 0, **options) -> Examination:
    return examine(patient(seed, change=change), Habits(id_block=50, **options))


def found(examination: Examination, check: str, severity: str = "warning") -> list[Finding]:
    return [f for f in examination.findings if f.check == check and f.severity == severity]


def test_clean_random_data_raise_no_alarm_in_forty_seeds():
    alarms = [f.what for seed in range(40) for f in looked_at(seed=seed).findings if f.severity != "info"]
    assert alarms == []


def test_a_chance_permutation_is_beaten_as_often_as_the_threshold_says():
    rng, beaten = np.random.default_rng(0), 0
    for _ in range(60):
        ap, best, _ = plate_only_ap(np.repeat(np.arange(20), 20), rng.random(400) < 0.1, rng)
        beaten += ap > best
    assert beaten <= 1


def test_a_shifted_plate_is_named_with_the_ap_of_a_predictor_that_knows_only_plates():
    def shift(frame, *_):
        frame.loc[(frame["ID"] > 100) & (frame["ID"] <= 150) & (frame.index % 3 > 0), "t2"] = 1

    (finding,) = found(looked_at(shift), "plates")
    assert finding.details["endpoint"] == "t2"
    assert list(finding.details["shifted"]) == ["2"]
    assert finding.details["ap"] > 2 * finding.details["prevalence"]


def test_a_plate_column_is_looked_at_instead_of_blocks_of_ids():
    def plates(frame, *_):
        rng = np.random.default_rng(0)
        frame["plate"] = [f"P{i}" for i in rng.integers(20, size=len(frame))]
        frame.loc[frame["plate"] == "P7", "t1"] = 1

    (finding,) = found(looked_at(plates), "plates")
    assert finding.details["grouping"] == "plate" and list(finding.details["shifted"]) == ["P7"]


def test_plates_set_apart_by_the_split_are_named():
    def apart(frame, *_):
        frame.loc[frame["ID"] <= 100, ["split", "t2"]] = "train", 1

    complete = [f for f in found(looked_at(apart), "plates") if "usual" in f.details]
    assert complete[0].details["groups"] == ["0", "1"]
    assert complete[0].details["positives"]["t2"] > 0.5


def test_plates_that_were_dealt_to_splits_on_purpose_are_no_finding():
    def dealt(frame, *_):
        frame["split"] = np.where((frame["ID"] - 1) // 50 % 3 > 0, "train", "leaderboard")

    assert found(looked_at(dealt), "plates") == []


def test_ids_that_do_not_count_are_said_and_a_column_may_be_named():
    def rename(frame, *_):
        frame["vendor"] = [f"V{i % 7}" for i in range(len(frame))]
        frame.loc[frame["vendor"] == "V3", "t0"] = 1
        frame["ID"] = [f"x{i}y" for i in range(len(frame))]

    assert "plates were not looked at" in found(looked_at(rename), "plates", "info")[0].what
    assert found(looked_at(rename, groups=("vendor",)), "plates")[0].details["grouping"] == "vendor"


def test_faulty_columns_are_named_by_kind():
    def faults(frame, x2d, xinst, offsets):
        x2d[:, 1], x2d[:, 3] = 7, x2d[:, 2]
        x2d[5, 4], x2d[6, 4] = np.nan, np.inf
        xinst[:, 2] = np.repeat(xinst[offsets[:-1], 2], 4)

    examination = looked_at(faults)
    assert examination.status == 2
    (bad,) = found(examination, "columns", "error")
    assert bad.details["columns"] == {"d4": 2}
    harmless = {f.what.split(":")[0]: f.details["columns"] for f in found(examination, "columns", "info")}
    assert list(harmless.values()) == [["d1"], ["d3"]]
    (flat,) = found(examination, "columns")
    assert flat.details["columns"] == ["g2"]


def test_identical_conformers_are_counted():
    def copies(frame, x2d, xinst, offsets):
        xinst[1], xinst[3] = xinst[0], xinst[0]
        xinst[9] = xinst[0]  # another bag: no copy

    (finding,) = found(looked_at(copies), "conformers")
    assert finding.details == {"conformers": 2, "molecules": 1}


@pytest.mark.parametrize(("noise", "severity"), [(0.0, "error"), (0.35, "warning")])
def test_a_feature_that_is_the_label_is_named(noise, severity):
    def leak(frame, x2d, xinst, offsets):
        x2d[:, 5] = -frame["t1"] + noise * np.random.default_rng(1).normal(size=len(frame))
        xinst[:, 0] = np.repeat(frame["t2"].to_numpy(), 4) + noise * np.random.default_rng(2).normal(size=len(xinst)) / 2

    said = [f for f in looked_at(leak).findings if f.check == "leak"]
    assert any(f.what.startswith("t1: 1 2D column predicts it alone") for f in said)
    leaks = {(f.details["endpoint"], f.severity): list(f.details["auc"]) for f in said}
    assert leaks[("t1", severity)] == ["d5"]
    assert [columns for (endpoint, _), columns in leaks.items() if endpoint == "t2"] == [["g0"]]


@pytest.mark.parametrize("over", [("train",), ("train", "leaderboard"), ("leaderboard",)])
def test_standardising_beforehand_is_seen_and_over_which_splits(over):
    def standardise(frame, x2d, xinst, offsets):
        rows = frame["split"].isin(over).to_numpy()
        x2d[:] = (x2d - x2d[rows].mean(axis=0)) / x2d[rows].std(axis=0)
        rows = np.repeat(rows, 4)
        xinst[:] = (xinst - xinst[rows].mean(axis=0)) / xinst[rows].std(axis=0, ddof=1)

    findings = found(looked_at(standardise), "scaling")
    assert [set(f.details["splits"]) for f in findings] == [set(over)] * 2
    assert ("scored later" in findings[0].means) == (over != ("train",))


def test_labels_of_one_class_and_few_positives():
    def few(frame, *_):
        frame["t0"], frame["t1"] = 0.0, np.where(frame.index < 40, np.nan, 0.0)
        frame.loc[frame[frame["split"] == "train"].index[50:55], "t1"] = 1

    examination = looked_at(few)
    assert {f.details["endpoint"] for f in found(examination, "labels", "error")} == {"t0"}
    few_ones = next(f for f in found(examination, "labels") if f.details["split"] == "train")
    assert (few_ones.details["endpoint"], few_ones.details["positives"]) == ("t1", 5)
    assert "labels missing" in few_ones.what


def test_twins_within_and_across_splits_and_with_two_labels():
    def twins(frame, *_):
        frame["smiles"] = [f"C{'C' * (i % 38)}C(=O)N{'C' * (i // 38 + 1)}" for i in range(len(frame))]
        frame.loc[[0, 1, 2], "smiles"] = ["CC(=O)O", "OC(C)=O", "CC(=O)[O-].[Na+]"]
        frame.loc[[0, 1, 2], "split"], frame.loc[[0, 1, 2], "t0"] = ["train", "train", "leaderboard"], [1, 1, 0]
        frame.loc[[0, 1, 2], ["t1", "t2"]] = 0
        frame.loc[3, "smiles"] = "not a molecule"
        frame["cv_fold"] = np.where(frame["split"] == "train", frame.index % 2, -1)

    examination = looked_at(twins)
    said = [f.what for f in found(examination, "duplicates")]
    assert len(said) == 3
    assert said.pop(1) == "1 molecule is in more than one fold"
    assert "1 molecule is in more than one split, e.g. ID 1 and ID 2" in said[0]
    assert said[1].startswith("t0: 1 molecule has two labels")
    assert "1 SMILES give no molecule, e.g. ID 4" in found(examination, "molecules")[0].what


def test_an_id_on_two_rows_is_an_error():
    def twice(frame, *_):
        frame.loc[1, "ID"] = 1

    assert found(looked_at(twice), "ids", "error")[0].details["ids"] == ["1"]


def test_without_rdkit_duplicates_are_not_looked_for_and_that_is_said(monkeypatch):
    monkeypatch.setattr("milbench.data.doctor_molecules.find_spec", lambda name: None)

    def smiles(frame, *_):
        frame["smiles"] = "CCO"

    examination = looked_at(smiles)
    assert "RDKit is not installed" in found(examination, "duplicates", "info")[0].what
    assert examination.status == 0


def test_bags_without_conformers_and_bags_of_one():
    base = patient(per_bag=1)
    (only,) = found(examine(base, Habits(id_block=50)), "bags")
    assert "no molecule has more than one conformer" in only.what
    offsets = np.concatenate([[0, 0], np.arange(1, 1500)])
    features = Features(base.features.x2d, base.features.names2d, base.features.xinst[:-1], base.features.names_inst, offsets)
    empty = found(examine(Patient(base.molecules, features), Habits(id_block=50)), "bags")[0]
    assert empty.details["ids"] == ["1"]


def test_a_survey_in_chunks_is_that_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 5, 60)
    offsets, x = np.concatenate([[0], np.cumsum(sizes)]), rng.normal(size=(sizes.sum(), 7)).astype(np.float32)
    x[rng.random(x.shape) < 0.02] = np.nan
    x[:, 6] = x[:, 0]
    split = np.array(["train", "test"], dtype=object)[rng.integers(2, size=60)]
    whole = survey(x, offsets, split)
    monkeypatch.setattr("milbench.data.doctor_features._ROWS", 11)
    parts = survey(x, offsets, split)
    for name in ("low", "high", "bad", "varies", "repeats", "rows", "repeating"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    np.testing.assert_allclose(whole.total, parts.total, rtol=1e-12)
    np.testing.assert_array_equal(whole.means, parts.means)
    assert whole.hash[0] == whole.hash[6] and parts.hash[0] == parts.hash[6] and len(set(parts.hash.tolist())) == 6


def test_tables_are_examined_and_ids_in_one_table_only_are_named(tmp_path):
    tables = make_tables(tmp_path, 200)
    less = pd.read_parquet(tables.feat2d).iloc[1:]
    less.to_parquet(tables.feat2d)
    examination = examine(open_tables(tables.labels, tables.feat2d, tables.instances, EUOS25))
    (finding,) = found(examination, "ids")
    assert finding.details["without_features"] == ["M00000"]
    assert found(examination, "bags", "info")


def test_the_command_examines_a_store_and_writes_json(tmp_path):
    bags = make_bags(300, missing=0.1)
    save_store(tmp_path / "store", bags, EUOS25, provenance={})
    lines, status = run_doctor(DoctorConfig(tmp_path / "store", json=tmp_path / "found.json"))
    saved = json.loads((tmp_path / "found.json").read_text())
    assert saved["status"] == status == 0
    assert {f["check"] for f in saved["findings"]} >= {"labels", "bags", "duplicates"}
    assert lines[-1].endswith("0 errors, 0 warnings")


def test_a_labels_table_alone_is_enough_and_half_the_features_are_not(tmp_path):
    tables = make_tables(tmp_path, 200)
    with pytest.raises(ConfigError, match="one is given without the other"):
        open_tables(tables.labels, tables.feat2d, [], EUOS25)
    patient_ = open_tables(tables.labels, None, [], EUOS25)
    assert patient_.features is None
    assert {f.check for f in examine(patient_).findings} >= {"labels", "duplicates"}


@pytest.mark.skipif(not REAL.is_dir(), reason="the challenge's files are not here")
@pytest.mark.parametrize("whole", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_eight_plates_of_euos25_are_named_with_and_without_test_molecules_and_plates(tmp_path, whole):
    imported = import_euos25(REAL).frame
    part = imported if whole else imported[imported["split"] == "train"].drop(columns="plate")
    part.to_parquet(tmp_path / "euos25.parquet")
    data = Patient(read_labelled(tmp_path / "euos25.parquet", EUOS25))
    plates = found(examine(data, Habits(duplicates=False)), "plates")
    (complete,) = [f for f in plates if "usual" in f.details]
    assert complete.details["groups"] == EIGHT
    assert complete.details["positives"]["Transmittance_450"] == pytest.approx(0.354, abs=0.001)
    (t450,) = [f for f in plates if f.details.get("endpoint") == "Transmittance_450"]
    assert set(EIGHT) - {"66"} <= set(t450.details["shifted"])  # plate 66 has one positive: it is shifted at 340 nm
    assert t450.details["ap"] > 5 * t450.details["prevalence"]


def test_what_the_import_found_odd_travels_in_its_table_to_the_doctor(tmp_path):
    frame = pd.DataFrame({"ID": ["a", "b"], **{name: [0, 1] for name in EUOS25.names}})
    frame.attrs["notes"] = ["quirk: one file calls the identifier 'N'"]
    frame.to_parquet(tmp_path / "with.parquet")
    frame.attrs.clear()
    frame.to_parquet(tmp_path / "without.parquet")
    with_notes, without = (open_tables(tmp_path / f"{name}.parquet", None, [], EUOS25) for name in ("with", "without"))
    assert [finding.what for finding in with_notes.known] == ["quirk: one file calls the identifier 'N'"]
    assert not without.known
