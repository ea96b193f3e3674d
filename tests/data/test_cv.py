"""`MILCVData.fold(k)` is the only door through which anything is fitted."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from builders import make_bags, make_cv, tiny_config
from milbench.data.bags import BagData
from milbench.data.cv import MILCVData
from milbench.errors import ConfigError, DataError


def test_every_molecule_validates_once_and_trains_otherwise() -> None:
    data = make_cv(make_bags(61), 4)
    folds = [data.fold(k) for k in range(4)]
    assert sorted(np.concatenate([fold.val for fold in folds]).tolist()) == list(range(61))
    for fold in folds:
        assert sorted([*fold.train, *fold.val]) == list(range(61))


def test_molecules_of_fold_minus_one_are_in_no_fold() -> None:
    data = make_cv()
    fold_of = np.where(np.arange(60) < 10, -1, data.fold_of)
    data = MILCVData(data.bags, fold_of)
    for k in range(3):
        fold = data.fold(k)
        assert min(fold.train.min(), fold.val.min()) == 10


def test_fold_numbers_of_a_table_need_not_start_at_zero() -> None:
    data = make_cv()
    shifted = MILCVData(data.bags, data.fold_of * 5 + 3)
    assert shifted.n_folds == 3
    assert shifted.fold_names.tolist() == [3, 8, 13]
    assert (shifted.fold(1).val == data.fold(1).val).all()


def test_a_fold_is_fitted_once_and_kept() -> None:
    data = make_cv()
    assert data.fold(1) is data.fold(1)
    assert data.fold(0).stats == make_cv().fold(0).stats
    assert data.fold(0).stats != data.fold(1).stats


def test_other_data_are_never_served_with_the_old_fit() -> None:
    data = make_cv()
    before = data.fold(0)
    other = dataclasses.replace(data, bags=make_bags(seed=1))
    assert other.fold(0).bags is other.bags
    assert other.fold(0).stats != before.stats


def test_training_features_are_standardised_and_validation_uses_the_same_numbers() -> None:
    data = make_cv()
    fold = data.fold(0)
    batch = fold.batch(torch.from_numpy(fold.train))
    for x in (batch.x2d, batch.xinst):
        torch.testing.assert_close(x.mean(0), torch.zeros(x.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.std(0, correction=0), torch.ones(x.shape[1]), atol=1e-4, rtol=0)
    raw, scaled = data.bags.gather(torch.from_numpy(fold.val)), fold.batch(torch.from_numpy(fold.val))
    scale = fold.stats.scale2d
    np.testing.assert_allclose(scaled.x2d.numpy(), (raw.x2d.numpy() - scale.mean) / scale.scale, rtol=1e-5, atol=1e-6)


def test_prescaled_features_are_left_alone() -> None:
    data = make_cv(prescaled=True)
    index = torch.tensor([4, 2])
    assert torch.equal(data.fold(0).batch(index).xinst, data.bags.gather(index).xinst)
    assert torch.equal(data.fold(0).batch(index).x2d, data.bags.gather(index).x2d)


def with_gap(molecule: int, value: float = float("nan")) -> BagData:
    bags = make_bags()
    x2d = bags.x2d.clone()
    x2d[molecule, 3] = value
    return dataclasses.replace(bags, x2d=x2d)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gap_among_the_training_molecules_is_named_by_fold_and_column(value: float) -> None:
    data = make_cv()
    data = MILCVData(with_gap(int(data.fold(1).train[0]), value), data.fold_of)
    with pytest.raises(DataError, match=r"fold 2, column d3: NaN or inf among the training molecules; .*impute"):
        data.fold(1)


def test_imputing_fills_gaps_with_the_median_of_the_training_molecules() -> None:
    fold_of = make_cv().fold_of
    molecule = int(np.flatnonzero(fold_of == 0)[0])
    data = MILCVData(with_gap(molecule), fold_of, impute="median")
    for k in (0, 1):
        fold = data.fold(k)
        rows = np.setdiff1d(fold.train, [molecule])
        filled = np.median(data.bags.x2d[rows, 3])
        scale = fold.stats.scale2d
        got = fold.batch(torch.tensor([molecule])).x2d[0, 3].item()
        assert got == pytest.approx((filled - scale.mean[3]) / scale.scale[3], abs=1e-5)


def test_impossible_options_are_refused() -> None:
    for options, said in (
        ({"impute": "mean"}, "--impute: got 'mean', want none or median"),
        ({"impute": "median", "prescaled": True}, "--impute: needs the scaling in the fold"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_cv(**options)
    bags = make_bags()
    for fold_of, said in (
        (np.zeros(60, int), "folds: got 1, want two or more"),
        (np.zeros(3, int), "folds: got 3, want one for"),
    ):
        with pytest.raises(DataError, match=said):
            MILCVData(bags, fold_of)


def test_a_fold_without_any_positive_is_an_error() -> None:
    bags = make_bags()
    data = make_cv(bags)
    bags.raw.y[data.fold_of == 2] = 0
    with pytest.raises(
        DataError, match=r"fold 3: no positive of any endpoint among its .* validation molecules; make other folds"
    ):
        data.fold(2)


def test_an_endpoint_without_positives_is_named_once(no_positives: BagData, caplog: pytest.LogCaptureFixture) -> None:
    data = make_cv(no_positives)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            fold = data.fold(0)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0] == "fold 1: Fluorescence_more_than_480 has no positive among the training molecules"
    assert fold.stats.prevalence[-1] == 0
    assert len(list(fold.sampler(tiny_config()))) == -(-len(fold.train) // 16)


def test_the_sampler_of_a_fold_yields_its_training_molecules_alone() -> None:
    data = make_cv()
    fold = data.fold(1)
    drawn = {int(i) for batch in fold.sampler(tiny_config()) for i in batch}
    assert drawn <= set(fold.train.tolist())
    assert len(drawn) > 15
