"""Attention tables: read, joined with a store, weighed; a store is seen one molecule at a time without torch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import make_bags, make_tasks
from milbench.data.attention import Attention, attention_files, even_note, hit_rates, hits_of, molecule_table, read_attention
from milbench.data.store import conformer_table, save_store
from milbench.data.store_view import StoreView
from milbench.errors import DataError
from milbench.files import write_json
from milbench.run_config import FINAL_FOLDER
from milbench.tasks import EUOS25

NAMES = EUOS25.names


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Ten molecules with coordinates of two heavy atoms, energies, and the first conformer as the key of every positive."""
    bags = make_bags(10, f3=3, missing=0.1)
    bags = type(bags)(**{**vars(bags), "names_inst": ("g", "huckel_gap", "h"), "smiles": np.array(["CO"] * 10, object)})
    rows, starts = len(bags.conf_ids), bags.offsets.numpy()[:-1]
    extra = conformer_table(bags).assign(relative_energy=np.arange(rows, dtype=float))
    for t, name in enumerate(NAMES):
        key = np.zeros(rows, dtype=bool)
        key[starts] = bags.raw.y[:, t] == 1
        extra[f"key_{name}"] = key
    positions = np.arange(rows * 2 * 3, dtype=np.float32).reshape(-1, 3)
    coordinates = positions, np.arange(rows + 1) * 2
    return save_store(tmp_path / "store", bags, EUOS25, provenance={}, conformers=extra, coordinates=coordinates)


def table_for(view: StoreView, attention: np.ndarray, places: list[int]) -> pd.DataFrame:
    """An attention table of these molecules, as a run writes it; attention [R, T] of the whole store."""
    rows = np.concatenate([np.arange(*view.offsets[p : p + 2]) for p in places])
    frame = view.conformers.iloc[rows][["ID", "conf_id"]].reset_index(drop=True)
    frame = frame.assign(**{f"pred_{n}": 0.1 * (t + 1) for t, n in enumerate(NAMES)})
    return frame.assign(**{f"attn_{n}": attention[rows, t] for t, n in enumerate(NAMES)})


def even(view: StoreView) -> np.ndarray:
    """The same attention for every conformer of a molecule."""
    sizes = np.diff(view.offsets)
    return np.repeat(1 / sizes, sizes)[:, None] * np.ones(len(NAMES))


def written(tmp_path: Path, frame: pd.DataFrame) -> Attention:
    frame.to_parquet(tmp_path / "attn.parquet")
    return read_attention(tmp_path / "attn.parquet")


def test_even_attention_has_entropy_one_and_a_single_choice_zero(store: Path, tmp_path: Path):
    view = StoreView.open(store)
    attention = even(view)
    found = written(tmp_path, table_for(view, attention, list(range(10))))
    several = found.sizes > 1
    np.testing.assert_allclose(found.entropy[several], 1)
    assert np.isnan(found.entropy[~several]).all()
    attention[:] = 0
    attention[view.offsets[:-1]] = 1
    certain = written(tmp_path, table_for(view, attention, list(range(10))))
    np.testing.assert_allclose(certain.entropy[several], 0)
    assert (certain.top == 1).all()


def test_the_molecules_are_those_of_the_store_with_their_labels_and_outcomes(store: Path, tmp_path: Path):
    view = StoreView.open(store)
    found = written(tmp_path, table_for(view, even(view), [7, 2, 5]))
    table = molecule_table(found, view, NAMES[1], threshold=0.15)
    assert table["ID"].tolist() == ["M7", "M2", "M5"] and (table["prediction"] == 0.2).all()
    labels = view.molecules.set_index("ID")[NAMES[1]][["M7", "M2", "M5"]]
    expected = ["" if np.isnan(y) else "TP" if y == 1 else "FP" for y in labels]
    assert table["outcome"].tolist() == expected
    assert table["conformers"].tolist() == np.diff(view.offsets)[[7, 2, 5]].tolist()


def test_a_store_of_other_endpoints_shows_the_same_molecules_without_labels(store: Path, tmp_path: Path):
    view = StoreView.open(store)
    found = written(tmp_path, table_for(view, even(view), [7, 2, 5]))
    other = StoreView.open(save_store(tmp_path / "other", make_bags(10, 2), make_tasks(2), provenance={}))
    table = molecule_table(found, other, NAMES[1], threshold=0.15)
    assert table["ID"].tolist() == ["M7", "M2", "M5"] and (table["prediction"] == 0.2).all()
    assert (table["label"] == "").all() and (table["outcome"] == "").all()


def test_a_model_that_looks_at_the_key_hits_it_every_time(store: Path, tmp_path: Path):
    view = StoreView.open(store)
    attention = np.zeros((len(view.conformers), len(NAMES)))
    attention[view.offsets[:-1]] = 1
    found = written(tmp_path, table_for(view, attention, [9, 1, 4, 0, 3]))
    hits = hits_of(found, view)
    assert len(hits) and hits["hit"].all()
    rates = hit_rates(hits)
    assert (rates["rate"] == 1).all() and (rates["low"] < 1).all() and (rates["chance"] < 1).all()
    assert rates["positives"].sum() == len(hits)


def test_a_molecule_is_seen_with_its_conformers_their_places_and_measures(store: Path):
    view = StoreView.open(store)
    place = view.place("M4")
    start, stop = view.offsets[4:6]
    positions, known = view.positions(place), view.known(place)
    assert positions is not None and positions.shape == (stop - start, 2, 3)
    np.testing.assert_array_equal(positions.reshape(-1, 3)[0], [start * 6, start * 6 + 1, start * 6 + 2])
    np.testing.assert_array_equal(known["Relative energy (kcal/mol)"], np.arange(start, stop))
    gap = np.load(store / "xinst.npy")[start:stop, 1]
    np.testing.assert_array_equal(known["Hückel gap (|β|)"], gap)
    assert view.keys == NAMES and view.smiles(place) == "CO"
    with pytest.raises(DataError, match="has no such molecule, got 'X'"):
        view.place("X")


def test_tables_that_are_none_are_one_line(tmp_path: Path, store: Path):
    frame = table_for(StoreView.open(store), even(StoreView.open(store)), [0, 1, 2])
    with pytest.raises(DataError, match="has no attn_<endpoint> column"):
        written(tmp_path, frame[["ID", "conf_id"]])
    apart = pd.concat([frame[frame["ID"] != "M0"], frame[frame["ID"] == "M0"], frame[frame["ID"] == "M1"]])
    with pytest.raises(DataError, match="do not stand together"):
        written(tmp_path, apart)
    elsewhere = written(tmp_path, frame.assign(ID="X" + frame["ID"]))
    with pytest.raises(DataError, match="has none of these molecules"):
        molecule_table(elsewhere, StoreView.open(store), NAMES[0], 0.5)
    with pytest.raises(DataError, match="has no such molecule"):
        elsewhere.of("M0")


def test_a_study_that_was_moved_still_finds_its_attention(tmp_path: Path):
    final = tmp_path / "study" / FINAL_FOLDER
    final.mkdir(parents=True)
    assert attention_files(tmp_path / "study") == {}
    (final / "leaderboard_attn.parquet").touch()
    write_json(final / "leaderboard_eval.json", {"attention": str(tmp_path / "gone" / "leaderboard_attn.parquet")})
    assert attention_files(tmp_path / "study") == {"leaderboard": final / "leaderboard_attn.parquet"}


def test_even_attention_is_told_to_point_at_no_conformer(store: Path, tmp_path: Path):
    view = StoreView.open(store)
    attention = even(view)
    assert "nearly uniform here" in even_note(written(tmp_path, table_for(view, attention, list(range(10)))))
    first = np.isin(np.arange(len(attention)), view.offsets[:-1])
    attention[:, 1:] = first[:, None]
    assert f"nearly uniform for {NAMES[0]};" in even_note(written(tmp_path, table_for(view, attention, list(range(10)))))
    attention[:, 0] = first
    assert even_note(written(tmp_path, table_for(view, attention, list(range(10))))) == ""
