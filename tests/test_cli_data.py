"""From SMILES to a store on the command line: every sub-command explains itself, works on real molecules, refuses plainly."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import RDConfig

from milbench.cli import COMMANDS, main
from milbench.data.store import load_store
from milbench.tasks import EUOS25


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    """60 NCI molecules of RDKit's own list with random labels."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text(encoding="utf-8").splitlines()[:60]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"ID": [f"nci{i:03}" for i in range(60)], "smiles": [line.split()[0] for line in lines]})
    for name in EUOS25.names:
        frame[name] = (rng.random(60) < 0.4).astype(int)
    frame.to_parquet(tmp_path / "molecules.parquet", index=False)
    return tmp_path / "molecules.parquet"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"usage: milbench {command}" in capsys.readouterr().out


def test_a_table_of_smiles_becomes_folds_and_a_store_that_the_doctor_reads(
    molecules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folded, store = molecules.with_name("folded.parquet"), molecules.with_name("mine.store")
    assert main(["folds", str(molecules), "--by", "scaffold", "--folds", "3", "--sample", "0", "--out", str(folded)]) == 0
    flags = ["--conformers", "2", "--sets-2d", "maccs", "--sets-3d", "usr", "--processes", "1"]
    assert main(["prepare", str(folded), "--out", str(store), *flags]) == 0
    bags, tasks = load_store(store, check=True)
    table = pd.read_parquet(folded).set_index("ID")
    assert tasks == EUOS25
    assert set(bags.ids) <= set(table.index)
    assert len(bags) >= 55
    assert bags.fold.tolist() == table.loc[bags.ids, "cv_fold"].tolist()
    np.testing.assert_array_equal(bags.raw.y, table.loc[bags.ids, list(EUOS25.names)])
    capsys.readouterr()
    assert main(["doctor", str(store)]) in (0, 1)
    assert "bags: " in capsys.readouterr().out


def test_predictions_are_scored_with_intervals(molecules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_parquet(molecules)
    perfect = table[["ID"]].assign(**{f"pred_{name}": table[name] * 0.5 for name in EUOS25.names})
    perfect.to_csv(molecules.with_name("predictions.csv"), index=False)
    assert main(["score", str(molecules.with_name("predictions.csv")), "--labels", str(molecules)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in EUOS25.names)
    assert "1.000" in out


@pytest.mark.parametrize("command", ["doctor", "folds", "prepare", "score"])
def test_a_missing_file_is_one_line_and_status_2(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [] if command in ("doctor", "score") else ["--out", str(tmp_path / "out.parquet")]
    assert main([command, str(tmp_path / "nothing.parquet"), *out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "nothing.parquet" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["folds", "--folds", "1"], "--folds: got 1, want 2 or more"),
        (["folds", "--workers", "0"], "--workers: got 0, want 1 or more"),
        (["folds", "--sample", "-1"], "--sample: got -1, want 0 or more"),
        (["folds", "--clusters", "-1"], "--clusters: got -1, want 0 or more"),
        (["folds", "--min_positives", "-1"], "--min_positives: got -1, want 0 or more"),
        (["doctor", "--workers", "0"], "--workers: got 0, want 1 or more"),
        (["doctor", "--id_block", "0"], "--id_block: got 0, want 1 or more"),
    ],
)
def test_a_number_that_will_not_do_is_one_line_and_status_2(
    molecules: Path, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *flags = args
    out = ["--out", str(molecules.with_name("out.parquet"))] if command == "folds" else []
    assert main([command, str(molecules), *out, *flags]) == 2
    assert capsys.readouterr().err == f"milbench: {said}\n"


def test_a_challenge_folder_without_its_files_says_where_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "euos25", str(tmp_path), "--out", str(tmp_path / "t.parquet")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "challenge" in said
