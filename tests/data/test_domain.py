"""Where a model applies: the nearest training molecule by Tanimoto similarity, and the threshold that the model sets itself."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from builders import make_bags
from milbench.data import domain
from milbench.data.domain import SHARE, Domain, domain_of, fingerprints, nearest


def prints(n: int, seed: int = 0, share: float = 0.1) -> np.ndarray:
    """n packed fingerprints of 1024 bits."""
    return np.packbits(np.random.default_rng(seed).random((n, 1024)) < share, axis=1)


def naive(one: np.ndarray, other: np.ndarray) -> float:
    a, b = np.unpackbits(one).astype(bool), np.unpackbits(other).astype(bool)
    return (a & b).sum() / max((a | b).sum(), 1)


@pytest.mark.parametrize(("queries", "there"), [(3, 5), (1024, 8192)])
def test_the_nearest_is_the_nearest_of_all_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch, queries: int, there: int
) -> None:
    monkeypatch.setattr(domain, "_QUERIES", queries)
    monkeypatch.setattr(domain, "_THERE", there)
    mine, known = prints(8), prints(23, seed=1)
    similarity, place = nearest(mine, known)
    for i in range(8):
        every = [naive(mine[i], one) for one in known]
        assert similarity[i] == max(every)
        assert place[i] == int(np.argmax(every))


def test_of_equals_the_first_is_the_nearest_and_nothing_is_like_an_empty_one() -> None:
    known = prints(4)
    similarity, place = nearest(known[[2, 2]], known[[0, 2, 1, 2]])
    assert similarity.tolist() == [1, 1] and place.tolist() == [1, 1]
    empty = np.zeros((1, 128), np.uint8)
    assert nearest(empty, empty)[0].tolist() == [0]


def test_the_threshold_leaves_five_percent_of_the_training_molecules_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    known = prints(400)
    found = Domain.of(np.arange(400).astype(str), known)
    own, place = nearest(known, known, but=np.arange(400))
    assert (place != np.arange(400)).all()
    assert found.threshold == np.quantile(own, SHARE)
    monkeypatch.setattr(domain, "SAMPLE", 100)
    sampled = Domain.of(np.arange(400).astype(str), known)
    assert sampled.threshold == Domain.of(np.arange(400).astype(str), known).threshold
    assert sampled.threshold == pytest.approx(found.threshold, abs=0.02)


def test_a_single_molecule_is_a_domain_of_itself() -> None:
    assert Domain.of(np.array(["a"]), prints(1)).threshold == 1


def test_a_domain_comes_back_from_its_folder(tmp_path: Path) -> None:
    known = Domain.of(np.array(["a", "b", "007"], dtype=object), prints(3))
    about = known.save(tmp_path)
    again = Domain.load(tmp_path, about)
    assert again.ids.tolist() == ["a", "b", "007"] and again.threshold == known.threshold
    np.testing.assert_array_equal(again.prints, known.prints)
    assert about["fingerprint"] == "Morgan, radius 2, 1024 bits" and about["molecules"] == 3
    similarity, ids = again.nearest(known.prints[[2]])
    assert similarity.tolist() == [1] and ids.tolist() == ["007"]


def test_molecules_without_a_readable_structure_are_counted_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    smiles = np.array(["CCO", None, "no structure", np.nan, "c1ccccc1", "CCN"], dtype=object)
    bags = dataclasses.replace(make_bags(6), smiles=smiles)
    with caplog.at_level("INFO", "milbench"):
        found = domain_of(bags, np.array([0, 1, 2, 3, 4]))
    assert found is not None and found.ids.tolist() == ["M0", "M4"]
    assert "3 of 5 molecules have no readable SMILES" in caplog.text
    assert domain_of(bags, np.array([1, 2])) is None
    assert domain_of(dataclasses.replace(bags, smiles=None), np.arange(6)) is None
    assert not fingerprints(smiles[1:4]).any()
