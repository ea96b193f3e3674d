"""What happens to a prediction as conformers are taken away: is attention where the evidence is?"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from milbench.data.bags import BagData
from milbench.data.manifest import read_manifest
from milbench.data.results import kept
from milbench.data.store import load_store
from milbench.files import content_hash
from milbench.seeds import stream
from milbench.training.ensemble import Ensemble, load_model

MOST_FIRST, AT_RANDOM = "most attended first", "random order"


def deletion_curve(model: Ensemble, bags: BagData, place: int, task: str, orders: int = 30, seed: int = 0) -> pd.DataFrame:
    """Probability of `task` for the molecule at `place` after 0, 1, ... N conformers are taken away (then 2D alone predicts).

    Columns: order (`MOST_FIRST`, `AT_RANDOM`), removed, probability; of `AT_RANDOM` the mean over `orders` and low, high (the
    5th and 95th percentile). Attention is that of the whole bag.
    """
    t, n = model.tasks.names.index(task), int(bags.bag_sizes[place])
    attention = model.predict(bags, np.array([place])).attention[:, t]
    rng = stream(seed, "deletion", str(bags.ids[place]), task)
    sequences = [np.argsort(-attention, kind="stable"), *(rng.permutation(n) for _ in range(orders))]
    left = [np.sort(sequence[removed:]) for sequence in sequences for removed in range(n + 1)]
    probability = model.predict(subsets(bags, place, left), np.arange(len(left))).probability[:, t].reshape(orders + 1, n + 1)
    low, high = np.quantile(probability[1:], [0.05, 0.95], axis=0)
    removed = np.arange(n + 1)
    by_attention = {"probability": probability[0], "low": probability[0], "high": probability[0]}
    at_random = {"probability": probability[1:].mean(axis=0), "low": low, "high": high}
    parts = [
        pd.DataFrame({"order": order, "removed": removed, **values})
        for order, values in ((MOST_FIRST, by_attention), (AT_RANDOM, at_random))
    ]
    return pd.concat(parts, ignore_index=True)


def kept_deletion_curve(study: Path, store: Path, place: int, task: str, cache: Path) -> pd.DataFrame:
    """`deletion_curve` of a study's final model, from the folder where it was drawn before."""
    model = load_model(study)
    key = content_hash(text="\n".join((*model.hashes, read_manifest(store)["content"], str(place), task)))
    return kept(cache, f"deletion-{key[:32]}", lambda: deletion_curve(model, load_store(store, mmap=True)[0], place, task))


def subsets(bags: BagData, place: int, left: list[np.ndarray]) -> BagData:
    """The molecule at `place` as many times as there are subsets of its conformers, each an array of their numbers."""
    places, start = np.full(len(left), place), int(bags.offsets[place])
    rows = torch.from_numpy(start + np.concatenate([*left, np.empty(0, np.int64)]).astype(np.int64))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in left])])
    return dataclasses.replace(
        bags,
        ids=np.arange(len(left)).astype(str).astype(object),
        x2d=bags.x2d[torch.from_numpy(places)],
        xinst=bags.xinst[rows],
        offsets=torch.from_numpy(offsets.astype(np.int64)),
        conf_ids=bags.conf_ids[rows.numpy()],
        split=bags.split[places],
        fold=bags.fold[places],
        smiles=None if bags.smiles is None else bags.smiles[places],
        raw=bags.raw.take(places),
        content="",
    )
