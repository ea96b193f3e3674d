"""The EUOS25 import: made-up files in the challenge's form, and the real ones where the user has them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from milbench.data.averaging import fit_stack
from milbench.data.euos25 import import_euos25
from milbench.data.euos25_files import FILES, find_sheets
from milbench.data.euos25_submission import SUBMISSION, submission, submission_order
from milbench.data.tables import from_frame, read_table
from milbench.data_commands import ImportConfig, SubmitConfig, run_import, run_submit
from milbench.errors import ConfigError, DataError
from milbench.tasks import EUOS25
from published import SMILES, labels, published_files

T340, T450, F340, F480 = EUOS25.names
REAL = Path(__file__).parents[3] / "shared" / "data" / "euos25"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the challenge's files are not here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return published_files(tmp_path)


def rewrite(folder: Path, name: str, change) -> None:
    path = folder / FILES[name]
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_four_files_and_the_test_file_become_one_table(folder):
    frame = import_euos25(folder).frame
    assert frame["ID"].tolist() == ["1", "4", "352", "353", "705", "706", "2", "354"]
    assert frame["smiles"].tolist() == [*SMILES, "CCBr", "CCI"]
    for name in EUOS25.names:
        assert frame[name][:6].tolist() == labels(name)
        assert frame[name][6:].isna().all()
    assert frame["split"].tolist() == ["train"] * 6 + ["test"] * 2
    assert frame["plate"].tolist() == ["0", "0", "0", "1", "2", "2", "0", "1"]


def test_every_quirk_is_named_once(folder):
    rewrite(folder, T450, lambda frame: frame.assign(SMILES=["OCC", *SMILES[1:]]))
    rewrite(folder, F480, lambda frame: frame.iloc[::-1])
    imported = import_euos25(folder)
    said = "\n".join(imported.notes)
    assert said.count("'N' instead of 'ID'") == 1
    assert said.count("'Transmittance (qualitative)'") == 1
    assert "transmittance450.csv writes 1 SMILES differently (ID 1)" in said
    assert "other order of molecules" in said
    assert imported.frame["smiles"][0] == "CCO"
    assert imported.frame[F480][:6].tolist() == labels(F480)


def test_extended_files_bring_measured_values_plates_and_wells(folder):
    extended = pd.read_csv(folder / FILES[T450]).rename(columns={"N": "ID"})
    extended["Transmittance (quantitative)"] = np.linspace(10, 99, 6)
    extended["Plate"], extended["Well"] = ["C1004"] * 3 + ["C1005"] + ["C1006"] * 2, [f"A{i}" for i in range(6)]
    extended.iloc[::-1].to_csv(folder / "euos25_challenge_train_transmittance450_extended.csv", index=False)
    imported = import_euos25(folder)
    frame = imported.frame
    assert frame["Transmittance_450_quantitative"][:6].tolist() == np.linspace(10, 99, 6).tolist()
    assert frame["plate"].tolist() == ["C1004", "C1004", "C1004", "C1005", "C1006", "C1006", "C1004", "C1005"]
    assert frame["well"][:6].tolist() == [f"A{i}" for i in range(6)]
    assert any("with measured values, plates, wells" in line for line in imported.notes)


def test_an_extended_file_alone_is_enough(folder):
    plain = folder / FILES[T450]
    pd.read_csv(plain).assign(Plate="C1", Well="A1").to_csv(plain.with_name("my_transmittance450.csv"), index=False)
    plain.unlink()
    assert import_euos25(folder).frame[T450][:6].tolist() == labels(T450)


def test_the_leaderboard_takes_its_molecules_from_the_test_file(folder):
    head = {column: [1] for column in SUBMISSION.values()}
    pd.DataFrame({"ID": [354], **head}).to_csv(folder / "euos_challenge_2025_leaderboard.csv", index=False)
    frame = import_euos25(folder).frame.set_index("ID")
    assert frame["split"].tolist() == ["train"] * 6 + ["leaderboard", "test"]
    assert frame.loc["354", [*EUOS25.names]].tolist() == [1, 1, 1, 1]
    assert frame.loc["354", "smiles"] == "CCI"
    assert frame.loc["2", [*EUOS25.names]].isna().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="Transmittance"), "has other columns"),
        (lambda f: f.assign(Transmittance=[0, 1, 2, 0, 0, 0]), "row 3, column Transmittance: got 2.0, want 0, 1 or empty"),
        (lambda f: f.iloc[:-1], "1 IDs missing, 0 more"),
        (lambda f: f.assign(ID=[1, 1, 352, 353, 705, 706]), "ID appears twice"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_with_the_way_out(folder, change, words):
    rewrite(folder, T450, change)
    with pytest.raises(DataError) as error:
        import_euos25(folder)
    assert words in str(error.value)
    assert "ochem.eu" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named_and_so_is_the_page_that_has_it(folder):
    (folder / FILES[F480]).unlink()
    with pytest.raises(DataError, match=r"no euos25_challenge_train_fluorescence480\.csv.*ochem\.eu"):
        find_sheets(folder)


def test_a_training_molecule_on_the_leaderboard_is_refused(folder):
    pd.DataFrame({"ID": [4], **{c: [0] for c in SUBMISSION.values()}}).to_csv(folder / "leaderboard.csv", index=False)
    with pytest.raises(DataError, match="training molecules"):
        import_euos25(folder)


def test_a_file_of_another_kind_is_ignored_and_said(folder):
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    assert "ignored, not a file of the challenge: notes.csv" in import_euos25(folder).notes


def test_a_submission_is_in_the_order_of_the_test_file(folder):
    predictions = pd.DataFrame({"ID": ["354", "2", "1"]} | {f"pred_{name}": [0.25, 0.5, 1.0] for name in EUOS25.names})
    table = submission(from_frame(predictions, "predictions"), submission_order(folder))
    assert table.columns.tolist() == ["Transmittance(340)", "Transmittance(450)", "Fluorescence(340/450)", "Fluorescence(>480)"]
    assert table["Transmittance(340)"].tolist() == [0.5, 0.25]
    kept = submission(from_frame(predictions, "predictions"), submission_order(folder), with_ids=True)
    assert kept["ID"].tolist() == ["2", "354"]


def test_a_submission_of_several_tables_is_their_mean_whatever_their_order(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    def table(name, ids, values):
        pd.DataFrame({"ID": ids} | {f"pred_{task}": values for task in EUOS25.names}).to_csv(out / name, index=False)
        return out / name

    first, second = table("a.csv", ["2", "354"], [0.5, 0.25]), table("b.csv", ["354", "7", "2"], [0.75, 0.0, 0.0])
    lines, status = run_submit(SubmitConfig("euos25", first, folder, out / "mean.csv", also=(second,)))
    assert status == 0
    assert "the mean of 2 tables, 2 rows" in lines[0]
    assert (pd.read_csv(out / "mean.csv") == pd.DataFrame({c: [0.25, 0.5] for c in SUBMISSION.values()})).all(axis=None)


def test_a_submission_may_be_a_stack_fitted_on_the_out_of_fold_tables_of_its_models(folder, tmp_path):
    rng, n = np.random.default_rng(0), 500
    y = (rng.random((n, 4)) < 0.3).astype(float)
    made, oof, tables = [], [], []
    for name in ("a", "b"):
        model, test = tmp_path / f"out_{name}", expit(rng.normal(size=(2, 4)))
        model.mkdir()
        p = expit(rng.normal(size=y.shape) + y)
        columns = {f"pred_{task}": p[:, t] for t, task in enumerate(EUOS25.names)}
        labels = {f"label_{task}": y[:, t] for t, task in enumerate(EUOS25.names)}
        pd.DataFrame({"ID": np.arange(n) + 1000, "fold": np.arange(n) % 5} | columns | labels).to_parquet(model / "oof.parquet")
        asked = {"ID": ["354", "2"]} | {f"pred_{task}": test[:, t] for t, task in enumerate(EUOS25.names)}
        pd.DataFrame(asked).to_parquet(model / "held_out.parquet")
        made.append((p, test[::-1]))
        oof.append(model / "oof.parquet")
        tables.append(model / "held_out.parquet")
    first, *also = tables
    out = tmp_path / "out_a" / "stack.csv"
    given = {"also": tuple(also), "average": "stack"}
    lines, _ = run_submit(SubmitConfig("euos25", first, folder, out, **given, oof=tuple(oof)))
    parts, asked = zip(*made, strict=True)
    assert np.allclose(pd.read_csv(out).to_numpy(), fit_stack(parts, y)(asked))
    assert "the stack of 2 tables" in lines[0]
    with pytest.raises(ConfigError, match="got 1, want 2 tables, one for each of predictions"):
        SubmitConfig("euos25", first, folder, out, **given, oof=tuple(oof[:1]))
    with pytest.raises(ConfigError, match="want none without --average stack"):
        SubmitConfig("euos25", first, folder, out, oof=tuple(oof))
    pd.read_parquet(oof[1]).drop(columns=["label_Transmittance_340"]).to_parquet(oof[1])
    with pytest.raises(DataError, match="other endpoints"):
        run_submit(SubmitConfig("euos25", first, folder, out, **given, oof=tuple(oof)))


def test_a_submission_refuses_gaps_and_what_is_no_probability(folder):
    predictions = pd.DataFrame({"ID": ["2", "354"]} | {name: [0.5, 1.5] for name in EUOS25.names})
    with pytest.raises(DataError, match=r"ID 354.*got 1\.5"):
        submission(from_frame(predictions, "predictions"), submission_order(folder))
    with pytest.raises(DataError, match="1 test molecules have no prediction"):
        submission(from_frame(predictions[:1], "predictions"), submission_order(folder))


@needs_real
def test_the_real_files_come_in_whole_with_their_quirks_named(tmp_path):
    lines, status = run_import(ImportConfig("euos25", REAL, tmp_path / "euos25.parquet"))
    said = "\n".join(lines)
    assert status == 0
    for quirk in ("'N' instead of 'ID'", "'Transmittance (qualitative)'", "2 SMILES differently (ID 37605, 76967), the same"):
        assert said.count(quirk) == 1
    table = read_table(tmp_path / "euos25.parquet")
    frame = table.frame()
    train = frame[frame["split"] == "train"]
    assert len(train) == 68_972
    assert (frame["split"] == "test").sum() == 29_420
    assert [round(100 * train[name].mean(), 2) for name in EUOS25.names] == [5.64, 1.47, 16.69, 0.24]
    assert [int(train[name].sum()) for name in EUOS25.names] == [3888, 1016, 11_509, 164]
    assert frame["plate"].nunique() == 280
    assert frame["ID"].is_unique
