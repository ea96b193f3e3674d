"""Tables to bags: identifiers as text, every loss counted, every mistake named by file, row and column."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import make_tasks
from milbench.columns import Columns
from milbench.data.assemble import TableOptions, load_tables
from milbench.data.bags import BagData
from milbench.data.tables import read_table
from milbench.errors import ConfigError, DataError
from milbench.files import write_table
from milbench.tasks import EUOS25, AuxTarget, Endpoint, TaskSet
from milbench.testing import make_tables

ONE = TaskSet("one", (Endpoint("y", weight="w"),))


def small_tables() -> dict[str, pd.DataFrame]:
    """Three molecules with 2, 1 and 3 conformers; row numbers differ between tables on purpose."""
    return {
        "labels": pd.DataFrame({"ID": ["007", "1e3", "a"], "y": [1.0, 0.0, 1.0], "w": [1.0, 2.0, 0.5], "split": "train"}),
        "feat2d": pd.DataFrame({"ID": ["a", "007", "1e3"], "d0": [0.5, 1.5, 2.5], "d1": [3.0, 1.0, 2.0]}),
        "geom": pd.DataFrame(
            {
                "ID": ["1e3", "a", "007", "a", "007", "a"],
                "conf_id": [0, 2, 1, 0, 0, 1],
                "g0": [10.0, 32.0, 21.0, 30.0, 20.0, 31.0],
            }
        ),
    }


@pytest.fixture(params=[".csv", ".parquet"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., BagData]:
    """Write these tables and load them: `load(tables, tasks, **options)`; tables beyond feat2d are instance tables."""

    def run(tables: dict[str, pd.DataFrame], tasks: TaskSet = ONE, **options: object) -> BagData:
        paths = {}
        for name, frame in tables.items():
            paths[name] = tmp_path / f"{name}{request.param}"
            write_table(paths[name], frame)
        instances = [path for name, path in paths.items() if name not in {"labels", "feat2d"}]
        return load_tables(paths["labels"], paths["feat2d"], instances, tasks, TableOptions(**options))  # type: ignore[arg-type]

    return run


def changed(table: str, column: str, row: int, value: object) -> dict[str, pd.DataFrame]:
    """The small tables with one cell changed; `row` counts from 1."""
    tables = small_tables()
    frame = tables[table].astype({column: object}) if isinstance(value, str) else tables[table]
    frame.loc[row - 1, column] = value
    if isinstance(value, str):
        frame[column] = frame[column].map(str)
    tables[table] = frame
    return tables


def test_molecules_keep_the_order_of_the_labels_and_their_own_rows(load: Callable[..., BagData]) -> None:
    bags = load(small_tables())
    assert bags.ids.tolist() == ["007", "1e3", "a"]
    assert bags.x2d.tolist() == [[1.5, 1.0], [2.5, 2.0], [0.5, 3.0]]
    assert bags.offsets.tolist() == [0, 2, 3, 6]
    assert bags.xinst.flatten().tolist() == [21, 20, 10, 32, 30, 31]
    assert bags.conf_ids.tolist() == ["1", "0", "0", "2", "0", "1"]
    assert bags.names2d == ("d0", "d1")
    assert bags.raw.y.flatten().tolist() == [1, 0, 1]
    assert bags.raw.w.flatten().tolist() == [1, 2, 0.5]
    assert bags.split.tolist() == ["train"] * 3
    assert bags.fold.tolist() == [-1] * 3
    assert bags.notes == ()
    assert (bags.x2d.dtype, bags.xinst.dtype, bags.offsets.dtype) == (torch.float32, torch.float32, torch.int64)


def test_csv_and_parquet_give_the_same_data_set(tmp_path: Path) -> None:
    loaded = []
    for suffix in (".csv", ".parquet"):
        tables = make_tables(tmp_path / suffix[1:], 40, EUOS25, suffix=suffix)
        loaded.append(load_tables(tables.labels, tables.feat2d, tables.instances))
    one, other = loaded
    assert one.content == other.content
    assert torch.equal(one.xinst, other.xinst)
    np.testing.assert_array_equal(one.raw.abs, other.raw.abs)
    assert (one.conf_ids == other.conf_ids).all()
    assert one.notes == other.notes == ()


def test_numeric_identifiers_of_any_type_are_the_same_text(tmp_path: Path) -> None:
    tables = small_tables()
    for i, ids in enumerate(([7, 8, 9], [7.0, 8.0, 9.0], ["7", "8", "9"])):
        labels = tables["labels"].assign(ID=ids)
        feat2d = tables["feat2d"].assign(ID=["9", "7", "8"])
        geom = tables["geom"].assign(ID=np.array([8, 9, 7, 9, 7, 9]))
        write_table(tmp_path / f"{i}.parquet", labels)
        assert load_tables(tmp_path / f"{i}.parquet", feat2d, [geom], ONE).ids.tolist() == ["7", "8", "9"]


@given(
    st.lists(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).filter(str.strip), min_size=1, unique=True
    ),
    st.data(),
)
def test_every_molecule_comes_back_whatever_its_name_and_bag(names: list[str], data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=len(names), max_size=len(names)))
    order = data.draw(st.permutations(range(sum(sizes))))
    labels = pd.DataFrame({"ID": names, "y": 0})
    feat2d = pd.DataFrame({"ID": names[::-1], "d": np.arange(len(names), dtype=float)[::-1]})
    geom = pd.DataFrame({"ID": np.repeat(names, sizes), "conf_id": np.concatenate([np.arange(s) for s in sizes])})
    geom["g"] = np.repeat(np.arange(len(names)), sizes) + geom["conf_id"] / 8
    bags = load_tables(labels, feat2d, [geom.iloc[list(order)]], TaskSet("one", (Endpoint("y"),)))
    assert bags.ids.tolist() == names
    assert bags.x2d[:, 0].tolist() == list(range(len(names)))
    assert bags.bag_sizes.tolist() == sizes
    np.testing.assert_array_equal(bags.xinst[:, 0].floor(), np.repeat(np.arange(len(names)), sizes))
    np.testing.assert_array_equal((bags.xinst[:, 0] % 1) * 8, bags.conf_ids.astype(int))


def test_instance_tables_are_joined_on_molecule_and_conformer(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["qm"] = tables["geom"].rename(columns={"g0": "q0"}).iloc[::-1].iloc[:-1]
    tables["qm"]["q0"] *= 2
    bags = load(tables)
    assert bags.names_inst == ("g0", "q0")
    torch.testing.assert_close(bags.xinst[:, 1], 2 * bags.xinst[:, 0])
    assert bags.ids.tolist() == ["007", "a"]
    assert any("1 conformers are not in every instance table" in note for note in bags.notes)
    assert "1 molecules have no conformer and are dropped" in bags.notes


def test_instance_tables_that_share_no_conformer_are_an_error(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["qm"] = tables["geom"].rename(columns={"g0": "q0"}).assign(conf_id=99)
    with pytest.raises(DataError, match=r"qm\..*: shares no \(ID, conf_id\) with .*geom"):
        load(tables)


def test_instance_tables_with_the_same_feature_are_an_error(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    with pytest.raises(DataError, match=r"qm\..*column g0: has a feature that an earlier instance table has too"):
        load({**tables, "qm": tables["geom"]})


@pytest.mark.parametrize(
    "status", [["ok", "failed", "SUCCESS", "1", "true", "0"], [1, 7, 1, 0, 0, 1], [True, False, *[True] * 4]]
)
def test_rows_whose_status_is_not_ok_are_dropped_and_counted(load: Callable[..., BagData], status: list) -> None:
    tables = small_tables()
    tables["geom"]["status"] = status
    bags = load(tables)
    assert bags.bag_sizes.tolist() == [2, 1, 2]
    assert [note.split(": ")[1] for note in bags.notes] == ["1 of 6 rows dropped (error set, or status not ok)"]
    assert bags.names_inst == ("g0",)


def test_rows_with_an_error_are_dropped_and_counted(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["geom"]["error"] = ["", "", "SCF not converged", None, "", "x"]
    bags = load(tables)
    assert bags.bag_sizes.tolist() == [1, 1, 2]
    assert "2 of 6 rows dropped" in bags.notes[0]


def test_dropped_rows_do_not_shift_the_row_that_an_error_names(load: Callable[..., BagData]) -> None:
    tables = changed("geom", "g0", 5, np.inf)
    tables["geom"]["status"] = ["failed", "failed", "ok", "ok", "ok", "ok"]
    with pytest.raises(DataError, match=r"row 5, column g0: got inf"):
        load(tables)


def test_a_table_without_a_usable_row_is_an_error(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["geom"]["status"] = "failed"
    with pytest.raises(DataError, match=r"geom\.\w+: has no usable row; check its status and error columns"):
        load(tables)


def test_repeated_conformers_are_averaged_and_counted(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    again = tables["geom"].iloc[[2, 2, 0]].assign(g0=[24.0, 27.0, 11.0])
    tables["geom"] = pd.concat([tables["geom"], again])
    bags = load(tables)
    assert bags.xinst.flatten().tolist() == [24, 20, 10.5, 32, 30, 31]
    assert bags.notes[0].endswith("3 rows repeat an (ID, conf_id); each such group is averaged")


def test_identifiers_in_one_table_only_are_reported(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"].loc[3] = ["only labels", 0.0, 1.0, "train"]
    tables["feat2d"].loc[3] = ["only 2d", 0.0, 0.0]
    tables["geom"].loc[6] = ["only 3d", 0, 0.0]
    bags = load(tables)
    assert len(bags) == 3
    said = " | ".join(bags.notes)
    assert said.count("1 molecules are not in") == 2
    assert "1 molecules have no row in the 2D table and are dropped" in said


def test_molecules_without_a_bag_are_dropped_or_kept_as_asked(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["geom"] = tables["geom"].iloc[1:]
    dropped, kept = load(tables), load(tables, keep_empty_bags=True)
    assert dropped.ids.tolist() == ["007", "a"]
    assert kept.ids.tolist() == ["007", "1e3", "a"]
    assert kept.bag_sizes.tolist() == [2, 0, 3]
    assert dropped.notes == ("1 molecules have no conformer and are dropped",)
    assert kept.notes == ("1 molecules have no conformer and are kept, predicted from 2D alone",)


@pytest.mark.parametrize("table", ["feat2d", "geom"])
def test_tables_that_share_no_identifier_are_an_error(load: Callable[..., BagData], table: str) -> None:
    tables = small_tables()
    tables[table]["ID"] = "x" + tables[table]["ID"]
    with pytest.raises(DataError, match=rf"{table}\.\w+: shares no ID with .*labels.*want IDs like '007'"):
        load(tables)


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "said"),
    [
        ("labels", "y", 2, 2.0, r"row 2, column y: got 2\.0, want 0, 1 or empty"),
        ("labels", "y", 3, "active", r"row 3, column y: got 'active', want a number"),
        ("labels", "w", 1, -1.0, r"row 1, column w: got -1\.0, want a weight of 0 or more"),
        ("labels", "w", 2, np.nan, r"row 2, column w: got nan, want a weight of 0 or more"),
        ("labels", "w", 2, 1e39, r"row 2, column w: got 1e\+39, want a weight"),
        ("labels", "ID", 3, "007", r"row 3, column ID: ID appears twice, got '007'; keep one row a molecule"),
        ("labels", "ID", 2, " ", r"row 2, column ID: is empty; give every row its ID"),
        ("feat2d", "ID", 1, "1e3", r"row 3, column ID: ID appears twice, got '1e3'"),
        ("feat2d", "d1", 2, "high", r"row 2, column d1: got 'high', want a number"),
        ("feat2d", "d1", 1, np.nan, r"row 1, column d1: got nan, want a finite float32; .*--impute median"),
        ("feat2d", "d1", 3, -np.inf, r"row 3, column d1: got -inf, want a finite float32"),
        ("feat2d", "d0", 3, 1e39, r"row 3, column d0: got 1e\+39, want a finite float32"),
        ("geom", "g0", 4, np.nan, r"row 4, column g0: got nan"),
        ("geom", "g0", 6, "?", r"row 6, column g0: got '\?', want a number"),
        ("geom", "ID", 6, "", r"row 6, column ID: is empty"),
        ("geom", "conf_id", 6, "", r"row 6, column conf_id: is empty; give every row its conf_id"),
    ],
)
def test_a_wrong_cell_is_named_by_file_row_and_column(
    load: Callable[..., BagData], table: str, column: str, row: int, value: object, said: str
) -> None:
    with pytest.raises(DataError, match=rf"{table}\.\w+, {said}") as caught:
        load(changed(table, column, row, value))
    assert "\n" not in str(caught.value)


def test_an_empty_split_is_asked_for_by_its_name(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"]["part"] = ["train", "", "train"]
    with pytest.raises(DataError, match=r"labels\.\w+, row 2, column part: is empty; give every row its part"):
        load(tables, columns=Columns(split="part"))


def test_non_finite_features_are_let_through_when_they_will_be_imputed(load: Callable[..., BagData]) -> None:
    bags = load(changed("feat2d", "d1", 1, np.nan), allow_missing_features=True)
    assert np.isnan(bags.x2d[2, 1].item())


@pytest.mark.parametrize(
    ("table", "column", "said"),
    [
        ("labels", "y", "column 'y' is missing; it has ID, yy, w"),
        ("labels", "ID", "column 'ID' is missing; it has IDD"),
        ("feat2d", "ID", "column 'ID' is missing"),
        ("geom", "conf_id", "column 'conf_id' is missing; did you mean 'conf_idconf_id'"),
    ],
)
def test_a_missing_column_is_named_with_the_closest_one(
    load: Callable[..., BagData], table: str, column: str, said: str
) -> None:
    tables = small_tables()
    tables[table] = tables[table].rename(columns={column: 2 * column})
    with pytest.raises(DataError) as caught:
        load(tables)
    assert f"{table}." in str(caught.value)
    assert said.split(";")[0] in str(caught.value)


def test_a_misspelt_column_is_suggested(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["geom"] = tables["geom"].rename(columns={"conf_id": "confid"})
    with pytest.raises(DataError, match=r"column 'conf_id' is missing; did you mean 'confid'\?"):
        load(tables)


def test_absent_weights_count_as_one_and_an_unused_one_may_be_missing(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"] = tables["labels"].drop(columns="w")
    assert load(tables).raw.w.tolist() == [[1], [1], [1]]
    tables["labels"] = small_tables()["labels"].assign(y=[1, np.nan, 0], w=[1, np.nan, 3])
    assert load(tables).raw.w.tolist() == [[1], [0], [3]]


def test_a_missing_label_stays_missing_unless_it_is_to_count_as_negative(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"]["y"] = [1.0, np.nan, 0.0]
    masked, negative = load(tables), load(tables, labels_missing="negative")
    np.testing.assert_array_equal(masked.raw.y[:, 0], [1, np.nan, 0])
    np.testing.assert_array_equal(negative.raw.y[:, 0], [1, 0, 0])
    assert masked.notes[0].endswith("1 missing labels, left out of loss, metrics and sampler")
    assert negative.notes[0].endswith("1 missing labels, counted as negative")
    with pytest.raises(ConfigError, match="--labels-missing: got 'drop', want mask or negative"):
        load(tables, labels_missing="drop")


AUX = TaskSet("aux", (Endpoint("y"),), (AuxTarget("a0", "wa"), AuxTarget("a1")), (AuxTarget("f0"), AuxTarget("f0")))


def test_auxiliaries_that_are_absent_or_empty_are_off_with_one_line_each(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"]["f0"] = np.nan
    bags = load(tables, AUX)
    assert bags.raw.abs.shape == bags.raw.w_abs.shape == bags.raw.fluo.shape == (3, 0)
    assert len(bags.notes) == 2
    assert bags.notes[0].endswith("absorbance regression off, absent or empty: a0, a1")
    assert bags.notes[1].endswith("fluorescence regression off, absent or empty: f0")


def test_auxiliaries_keep_their_order_repeats_weights_and_gaps(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"] = tables["labels"].assign(f0=[1.0, np.nan, 3.0], a1=[7.0, 8.0, np.nan], wa=[-1.0, 5.0, 5.0])
    bags = load(tables, AUX)
    np.testing.assert_array_equal(bags.raw.fluo, [[1, 1], [np.nan, np.nan], [3, 3]])
    np.testing.assert_array_equal(bags.raw.abs, [[np.nan, 7], [np.nan, 8], [np.nan, np.nan]])
    np.testing.assert_array_equal(bags.raw.w_abs, [[0, 1], [0, 1], [0, 1]])
    assert bags.notes[0].endswith("absorbance regression without these, absent or empty: a0")


def test_an_infinite_auxiliary_is_named(load: Callable[..., BagData]) -> None:
    for value in (np.inf, 1e39):
        tables = small_tables()
        tables["labels"]["a1"] = [1.0, value, 3.0]
        with pytest.raises(DataError, match=r"row 2, column a1: got .*, want a finite float32 or empty"):
            load(tables, AUX)


def test_targets_weights_and_bookkeeping_are_never_features(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    extra = {"SMILES": "C", "curated_SMILES": "CC", "split": "train", "record_index": 1, "cv_fold": 0, "y": 1, "w": 2.0}
    tables["feat2d"] = tables["feat2d"].assign(**extra)
    tables["geom"] = tables["geom"].assign(**extra, status="ok", error="")
    bags = load(tables)
    assert bags.names2d == ("d0", "d1")
    assert bags.names_inst == ("g0",)


def test_split_fold_and_smiles_are_read(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"] = tables["labels"].assign(
        split=["train", "leaderboard", "train"], cv_fold=[0, np.nan, 2], smiles=["C", "CC", "CCC"]
    )
    bags = load(tables)
    assert bags.split.tolist() == ["train", "leaderboard", "train"]
    assert bags.fold.tolist() == [0, -1, 2]
    assert bags.smiles.tolist() == ["C", "CC", "CCC"]
    for wrong in (1.5, np.inf):
        tables["labels"]["cv_fold"] = [0, wrong, 2]
        with pytest.raises(DataError, match=r"row 2, column cv_fold: got .*, want a whole number or empty"):
            load(tables)


def test_other_column_names_can_be_given(load: Callable[..., BagData]) -> None:
    tables = {
        name: frame.rename(columns={"ID": "mol", "conf_id": "shape"}).assign(part="train", deal=1)
        for name, frame in small_tables().items()
    }
    bags = load(tables, columns=Columns(id="mol", conf="shape", split="part", fold="deal"))
    assert bags.names2d == ("d0", "d1")
    assert bags.names_inst == ("g0",)
    assert bags.fold.tolist() == [1, 1, 1]


@pytest.mark.parametrize("wrong", [{"split": "partt"}, {"fold": "dael"}], ids=str)
def test_a_split_or_fold_column_that_was_named_must_be_there(load: Callable[..., BagData], wrong: dict[str, str]) -> None:
    tables = small_tables()
    tables["labels"] = tables["labels"].assign(part=["train", "leaderboard", "train"], deal=1)
    there, [column] = {"split": "part", "fold": "deal"}, wrong.values()
    load(tables, columns=Columns(**there))
    with pytest.raises(DataError, match=rf"labels\.\w+: column '{column}' is missing; did you mean '(part|deal)'"):
        load(tables, columns=Columns(**there | wrong))


def test_without_a_split_column_all_are_train_and_the_notes_say_so_once(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["labels"] = tables["labels"].drop(columns="split")
    bags = load(tables)
    assert set(bags.split) == {"train"}
    [note] = bags.notes
    assert note.endswith(": no split column, all molecules are train")


def test_a_table_without_features_is_an_error(load: Callable[..., BagData]) -> None:
    tables = small_tables()
    tables["feat2d"] = tables["feat2d"][["ID"]]
    with pytest.raises(DataError, match=r"feat2d\.\w+: has no feature column; it has ID"):
        load(tables)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.xlsx", "ID\n1", r"unknown table format, got '\.xlsx', want \.parquet or \.csv"),
        ("t.csv", "", r"cannot be read as csv \(Empty CSV file\)"),
        ("t.csv", "ID,x\n", "has no rows"),
        ("t.csv", "ID,x\n1,2\n3\n", "cannot be read as csv .*Expected 2 columns, got 1"),
        ("t.csv", "ID,x,x\n1,2,3\n", "column x: column appears twice; rename one"),
        ("t.parquet", "no parquet", "cannot be read as parquet"),
        ("t.parquet", "", "cannot be read as parquet"),
        ("gone.csv", None, "no such file; check the path"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        read_table(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_frames_serve_as_tables_and_their_mistakes_are_one_line_too() -> None:
    tables = small_tables()
    assert load_tables(tables["labels"], tables["feat2d"], [tables["geom"]], ONE).ids.tolist() == ["007", "1e3", "a"]
    twice = pd.concat([tables["feat2d"], tables["feat2d"][["d0"]]], axis=1)
    mixed = tables["feat2d"].astype({"d0": object})
    mixed.loc[1, "d0"] = "high"
    for wrong, said in ((twice, "d0"), (mixed, "high"), (tables["feat2d"].iloc[:0], "has no rows")):
        with pytest.raises(DataError, match=f"2D table.*{said}"):
            load_tables(tables["labels"], wrong, [tables["geom"]], ONE)


def test_the_labels_table_is_not_taken_for_features(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, 30)
    with pytest.raises(DataError, match="is the labels table itself"):
        load_tables(tables.labels, tables.labels, tables.instances)
    with pytest.raises(DataError, match="instance tables: none given"):
        load_tables(tables.labels, tables.feat2d, [])


def test_words_for_missing_count_as_missing_even_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ID,x\na,NA\nb,n/a\nc,\nd,null\ne,1.5\n")
    np.testing.assert_array_equal(read_table(tmp_path / "t.csv").numbers("x"), [np.nan] * 4 + [1.5])
    (tmp_path / "t.csv").write_text("ID,x\na,NA\nb,n/a\nc,\nd,null\ne,1.5x\n")
    with pytest.raises(DataError, match=r"row 5, column x: got '1\.5x'"):
        read_table(tmp_path / "t.csv").numbers("x")


def test_a_number_far_down_a_long_column_keeps_its_type(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ID,x\n" + "".join(f"m{i},{i}\n" for i in range(150_000)) + "last,0.5\n")
    assert read_table(tmp_path / "t.csv").numbers("x")[-1] == 0.5


@pytest.mark.parametrize("n_tasks", [1, 3, 7])
def test_the_content_hash_follows_the_data_and_nothing_else(tmp_path: Path, n_tasks: int) -> None:
    tasks = make_tasks(n_tasks, 1, 1)
    tables = make_tables(tmp_path, 30, tasks)
    frames = [pd.read_parquet(path) for path in (tables.labels, tables.feat2d, *tables.instances)]

    def content(frames: list[pd.DataFrame]) -> str:
        return load_tables(frames[0], frames[1], frames[2:], tasks).content

    first = content(frames)
    assert content(frames) == first
    for i in range(4):
        other = [frame.copy() for frame in frames]
        column = other[i].select_dtypes("number").columns[-1]
        other[i].loc[3, column] = 1 - other[i].loc[3, column] if i == 0 else 7.25
        assert content(other) != first
