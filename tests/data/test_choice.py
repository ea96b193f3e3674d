"""Which columns and conformers a run is given."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from builders import make_bags
from milbench.columns import Columns
from milbench.data.choice import choose, chosen_columns, first_conformers
from milbench.data.fold_table import with_folds
from milbench.errors import ConfigError, DataError
from milbench.features import FeatureChoice

COLUMNS = ("MolWt", "morgan2_0", "morgan2_1", "maccs_1", "atompair_9000", "TPSA", "usr_ctd_mean", "usrcat_all_ctd_mean")


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        ((), COLUMNS),
        (("morgan",), ("morgan2_0", "morgan2_1")),
        (("morgan:2048:2",), ("morgan2_0", "morgan2_1")),
        (("atompair:16384",), ("atompair_9000",)),
        (("rdkit217",), ("MolWt", "TPSA")),
        (("TPSA", "maccs"), ("maccs_1", "TPSA")),
        (("m*",), ("morgan2_0", "morgan2_1", "maccs_1")),
        (("usr",), ("usr_ctd_mean",)),
    ],
)
def test_columns_are_chosen_by_set_or_glob_in_the_order_of_the_data(patterns: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    assert chosen_columns(COLUMNS, patterns, "--features2d") == wanted


def test_a_name_that_means_no_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="mogran"):
        chosen_columns(COLUMNS, ("morgan", "mogran"), "--features2d")
    with pytest.raises(ConfigError, match="morgan:1024:3"):
        chosen_columns(COLUMNS, ("morgan:1024:3",), "--features2d")


@pytest.mark.parametrize("count", [0, 1, 2, 99])
def test_the_first_conformers_of_each_molecule_stay_in_place(count: int) -> None:
    bags = make_bags(20, sizes=np.array([0, 3, 1, 2] * 5))
    fewer = first_conformers(bags, count)
    for m in range(20):
        own = bags.xinst[bags.offsets[m] : bags.offsets[m + 1]][:count]
        assert torch.equal(fewer.xinst[fewer.offsets[m] : fewer.offsets[m + 1]], own)
        names = bags.conf_ids[bags.offsets[m] : bags.offsets[m + 1]][:count]
        assert (fewer.conf_ids[fewer.offsets[m] : fewer.offsets[m + 1]] == names).all()


def test_chosen_data_are_other_data_and_say_so() -> None:
    bags = dataclasses.replace(make_bags(10), content="abc")
    assert choose(bags, FeatureChoice()) is bags
    fewer = choose(bags, FeatureChoice(("d1", "d0"), ("g*",), 1))
    assert fewer.names2d == ("d0", "d1")
    assert torch.equal(fewer.x2d, bags.x2d[:, :2])
    assert fewer.bag_sizes.max() == 1
    assert "2 of 5 2D" in fewer.notes[-1]
    assert fewer.provenance["chosen"] == {"features2d": ["d1", "d0"], "features3d": ["g*"], "conformers": 1}
    contents = {choose(bags, FeatureChoice(conformers=n)).content for n in (0, 1, 2)} | {bags.content, fewer.content}
    assert len(contents) == 5


def test_fewer_than_no_conformer_is_refused() -> None:
    with pytest.raises(ConfigError, match="--conformers"):
        FeatureChoice(conformers=-1)


def test_folds_of_a_table_are_joined_on_the_id(tmp_path) -> None:
    bags = make_bags(10)
    table = pd.DataFrame({"ID": bags.ids[::-1], "mine": np.arange(10)[::-1]}).iloc[:8]
    table.to_csv(tmp_path / "folds.csv", index=False)
    columns = Columns(fold="mine")
    given = with_folds(bags, tmp_path / "folds.csv", columns)
    assert given.fold.tolist() == [-1, -1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert with_folds(bags, None, columns) is bags
    with pytest.raises(DataError, match="cv_fold"):
        with_folds(bags, tmp_path / "folds.csv", Columns())
    pd.concat([table, table.iloc[:1]]).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(DataError, match="twice"):
        with_folds(bags, tmp_path / "twice.csv", columns)
    table.assign(ID="x" + table["ID"]).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match="shares no ID"):
        with_folds(bags, tmp_path / "other.csv", columns)
