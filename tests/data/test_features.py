"""Features of tables as float32: whatever the columns are made of and however the file is cut, the same numbers and words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milbench.data.assemble import TableOptions, load_tables
from milbench.data.tables import Table, open_table, read_table
from milbench.errors import DataError
from milbench.tasks import Endpoint, TaskSet

ONE = TaskSet("one", (Endpoint("y"),))
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=16)
KINDS: dict[str, tuple[st.SearchStrategy, Callable[[list], pa.Array]]] = {
    "half": (FLOATS, lambda cells: pa.array(cells, pa.float16())),
    "float": (st.floats(width=32), lambda cells: pa.array(cells, pa.float32())),
    "double": (st.floats(), lambda cells: pa.array(cells, pa.float64())),
    "integer": (st.integers(-(2**63), 2**63 - 1), lambda cells: pa.array(cells, pa.int64())),
    "small": (st.integers(0, 255), lambda cells: pa.array(cells, pa.uint8())),
    "truth": (st.booleans(), lambda cells: pa.array(cells, pa.bool_())),
    "text": (FLOATS, lambda cells: pa.array([cell if cell is None else repr(cell) for cell in cells], pa.string())),
    "dictionary": (FLOATS, lambda cells: pa.array(cells, pa.float32()).dictionary_encode()),
    "words": (FLOATS, lambda cells: pa.array([cell and repr(cell) for cell in cells], pa.string()).dictionary_encode()),
    "nothing": (st.none(), lambda cells: pa.nulls(len(cells))),
}


@given(st.data(), st.integers(1, 12), st.integers(1, 5))
def test_features_are_the_columns_as_float32(data: st.DataObject, n: int, chunk: int) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=40))
    cells = [data.draw(st.lists(st.none() | KINDS[kind][0], min_size=n, max_size=n)) for kind in kinds]
    columns = [KINDS[kind][1](column) for kind, column in zip(kinds, cells, strict=True)]
    chunks = [pa.chunked_array([column[i : i + chunk] for i in range(0, n, chunk)]) for column in columns]
    table = Table.of("table", pa.table(dict(zip(map(str, range(len(kinds))), chunks, strict=True))))
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1)))
    with np.errstate(over="ignore"):
        want = np.array(cells, dtype=object).T.astype(np.float64).astype(np.float32)
    np.testing.assert_array_equal(table.features(table.names, allow_missing=True), want)
    np.testing.assert_array_equal(table.take(rows).features(table.names, allow_missing=True), want[rows])


def wide(n: int = 50, features: int = 70) -> pd.DataFrame:
    """A table of float32 features f0, f1, … without identifiers."""
    values = np.random.default_rng(0).normal(size=(n, features)).astype(np.float32)
    return pd.DataFrame(values, columns=[f"f{j}" for j in range(features)])


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[[pd.DataFrame], Path]:
    """Write a table in row groups of 7 rows."""

    def write(frame: pd.DataFrame) -> Path:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "wide.parquet", row_group_size=7)
        return tmp_path / "wide.parquet"

    return write


@pytest.mark.parametrize("read", [read_table, open_table])
@pytest.mark.parametrize("column", [0, 15, 16, 40, 69])
def test_the_first_bad_cell_in_the_order_of_columns_is_named(
    parquet: Callable[[pd.DataFrame], Path], read: Callable[[Path], Table], column: int
) -> None:
    frame = wide()
    frame.iloc[[31, 44], column] = [np.inf, np.nan]
    if column < 69:
        frame["f69"] = "high"
        frame.loc[2, f"f{column + 1}"] = np.nan
    table = read(parquet(frame))
    with pytest.raises(DataError, match=rf"row 32, column f{column}: got inf, want a finite float32"):
        table.features(table.names)
    with pytest.raises(DataError, match=rf"row 45, column f{column}: got nan, want a finite float32"):
        table.take(np.array([3, 44, 31])).features(table.names)


def test_row_groups_and_dictionaries_change_nothing(parquet: Callable[[pd.DataFrame], Path]) -> None:
    frame = wide()
    frame["f3"] = pd.Categorical(frame["f3"].round(1))
    table = open_table(parquet(frame))
    assert (len(table), table.names) == (50, tuple(frame.columns))
    np.testing.assert_array_equal(table.features(table.names), frame.astype(np.float32))
    rows = np.random.default_rng(1).permutation(50)[:30]
    np.testing.assert_array_equal(table.take(rows).take(rows[:9] % 30).features(("f69", "f3")),
                                  frame.iloc[rows[rows[:9] % 30]][["f69", "f3"]].astype(np.float32))  # fmt: skip


def test_a_column_whose_name_begins_another_is_read_alone(parquet: Callable[[pd.DataFrame], Path]) -> None:
    frame = wide(features=3).set_axis(["a.b", "a", "a.b.c"], axis=1)
    np.testing.assert_array_equal(open_table(parquet(frame)).features(("a", "a.b")), frame[["a", "a.b"]])


def test_a_column_twice_in_a_parquet_file_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array([1.0]), pa.array([2.0])], names=["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice\.parquet, column a: column appears twice; rename one"):
        open_table(tmp_path / "twice.parquet")


def test_a_file_damaged_in_its_middle_is_an_error_of_that_file(parquet: Callable[[pd.DataFrame], Path]) -> None:
    path = parquet(wide())
    table, whole = open_table(path), path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(whole // 3)
    with pytest.raises(DataError, match=r"wide\.parquet: cannot be read as parquet \("):
        table.features(table.names)


def test_a_bad_cell_of_a_conformer_that_is_left_out_is_still_named(tmp_path: Path) -> None:
    labels, feat2d = pd.DataFrame({"ID": ["a"], "y": [1.0]}), pd.DataFrame({"ID": ["a"], "d": [0.0]})
    one = pd.DataFrame({"ID": ["a", "b", "a"], "conf_id": [0, 0, 1], "g": [1.0, np.nan, 2.0]})
    other = pd.DataFrame({"ID": ["a"], "conf_id": [1], "h": [3.0]})
    with pytest.raises(DataError, match=r"row 2, column g: got nan"):
        load_tables(labels, feat2d, [one, other], ONE)
    bags = load_tables(labels, feat2d, [one, other], ONE, TableOptions(allow_missing_features=True))
    assert bags.xinst.tolist() == [[2.0, 3.0]]
    assert bags.notes[0].endswith("2 conformers are not in every instance table and are left out")


def test_repeated_conformers_are_averaged_in_every_block(tmp_path: Path) -> None:
    frame = wide(6)
    keys = pd.DataFrame({"ID": list("abbaab"), "conf_id": [0, 1, 1, 0, 2, 1]})
    pq.write_table(pa.Table.from_pandas(pd.concat([keys, frame], axis=1)), tmp_path / "geom.parquet", row_group_size=2)
    labels, feat2d = pd.DataFrame({"ID": ["b", "a"], "y": [1.0, 0.0]}), pd.DataFrame({"ID": ["a", "b"], "d": [0.0, 1.0]})
    bags = load_tables(labels, feat2d, [tmp_path / "geom.parquet"], ONE)
    want = frame.astype(np.float64).iloc[[1, 2, 5]].mean(), frame.astype(np.float64).iloc[[0, 3]].mean(), frame.iloc[4]
    np.testing.assert_allclose(bags.xinst, np.stack(want), rtol=1e-6, atol=1e-7)
    assert bags.conf_ids.tolist() == ["1", "0", "2"]
