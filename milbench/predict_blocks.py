"""Predictions of a stretch of molecules, as tables."""

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from milbench.data.bags import BagData
from milbench.data.domain import fingerprints
from milbench.data.store_blocks import StoreBlocks, cut
from milbench.export import attention_table, scored_columns
from milbench.files import read_array
from milbench.training.ensemble import Ensemble, EnsemblePredictions
from milbench.training.evaluator import EVAL_BATCH

log = logging.getLogger(__name__)

BATCH_INSTANCES = 8192
"""Most conformers that are in memory at once, unless one molecule has more."""


@dataclass(frozen=True)
class Predictor:
    """A model over an opened store. min_similarity: of the domain; None: the model's own."""

    model: Ensemble
    store: StoreBlocks
    min_similarity: float | None = None

    @cached_property
    def knows_domain(self) -> bool:
        """Whether it can be said how near the molecules are to the training ones; why not is logged once."""
        why = ""
        if not self.model.domains:
            why = "the model has no structures of its training molecules"
        elif not self.store.has_smiles:
            why = "the molecules have no SMILES"
        elif find_spec("rdkit") is None:
            why = "RDKit is not installed"
        if why:
            log.info("applicability: not known, since %s", why)
        return not why

    @cached_property
    def thresholds(self) -> list[float]:
        """Of each domain the similarity from which a molecule is inside."""
        return [domain.threshold if self.min_similarity is None else self.min_similarity for domain in self.model.domains]

    @cached_property
    def has_labels(self) -> bool:
        """Whether any label of the model's endpoints is known."""
        shared = [t for t, name in enumerate(self.store.tasks.names) if name in self.model.tasks.names]
        return bool(np.isfinite(read_array(self.store.folder / "target_y.npy", mmap=True)[:, shared]).any())

    def tables(self, start: int, stop: int, attention: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Molecules start:stop of the store, one row each, and where it is asked for their conformers, one row each.

        ID, conformers, from_2d_alone, pred_<task>, std_<task> of several models, clipped_features where the first model limits
        any, what a score needs where labels are known, nearest_similarity, nearest_id and in_domain where they can be said;
        reason and detail of what cannot be predicted.
        """
        parts = list(self._batches(start, stop, attention))
        molecules = pd.concat([one for one, _ in parts], ignore_index=True)
        return molecules, pd.concat([one for _, one in parts], ignore_index=True)

    def _batches(self, start: int, stop: int, attention: bool) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        edges = cut(self.store.offsets, start, stop, EVAL_BATCH, BATCH_INSTANCES)
        for first, last in pairwise(edges.tolist()):
            bags = self.model.members[0].fitted(self._bags(first, last), self.store.folder)
            wrong = np.full(len(bags), "", dtype=object) if self.model.imputes else bags.not_finite(np.arange(len(bags)))
            rows = np.flatnonzero(wrong == "")
            predictions = self._predict(bags, rows)
            table = self._molecules(bags, rows, predictions)
            table["reason"], table["detail"] = np.where(wrong == "", "", "not_finite"), wrong
            yield _texts(table), _texts(self._conformers(bags, rows, predictions)) if attention else pd.DataFrame()

    def _bags(self, start: int, stop: int) -> BagData:
        """The molecules with the labels of the model's endpoints, whichever the store has and in whatever order."""
        bags = self.store.bags(start, stop)
        return dataclasses.replace(bags, raw=bags.raw.of(self.store.tasks.names, self.model.tasks.names))

    def _conformers(self, bags: BagData, rows: np.ndarray, predictions: EnsemblePredictions) -> pd.DataFrame:
        return attention_table(bags, rows, predictions.probability, predictions.attention, self.model.tasks)

    def _predict(self, bags: BagData, rows: np.ndarray) -> EnsemblePredictions:
        if len(rows):
            return self.model.predict(bags, rows)
        none = np.zeros((0, len(self.model.tasks)))
        return EnsemblePredictions(none, none, none.astype(np.float32))

    def _molecules(self, bags: BagData, rows: np.ndarray, predictions: EnsemblePredictions) -> pd.DataFrame:
        sizes, names, first = bags.bag_sizes, self.model.tasks.names, self.model.members[0]
        table: dict[str, Any] = {"ID": bags.ids, "conformers": sizes, "from_2d_alone": sizes == 0}
        whole = np.full((2, len(bags), len(names)), np.nan)
        whole[:, rows] = predictions.probability, predictions.spread
        table |= {f"pred_{name}": whole[0, :, t] for t, name in enumerate(names)}
        if len(self.model.members) > 1:
            table |= {f"std_{name}": whole[1, :, t] for t, name in enumerate(names)}
        if first.clips:
            table["clipped_features"] = first.clipped(bags)
        if self.has_labels:
            table |= scored_columns(bags, np.arange(len(bags)), whole[0], self.model.tasks)
        if self.knows_domain and bags.smiles is not None:
            table |= self._domain(bags.smiles)
        return pd.DataFrame(table)

    def _domain(self, smiles: np.ndarray) -> dict[str, Any]:
        """The nearest training molecule of any domain; inside is who is inside every domain. Without a SMILES: NaN, outside."""
        prints = fingerprints(smiles)
        found = [domain.nearest(prints) for domain in self.model.domains]
        similarity = np.stack([one for one, _ in found])
        nearest = np.stack([ids for _, ids in found])[similarity.argmax(axis=0), np.arange(len(smiles))]
        inside = (similarity >= np.array(self.thresholds)[:, None]).all(axis=0)
        known = prints.any(axis=1)
        return {
            "nearest_similarity": np.where(known, similarity.max(axis=0), np.nan),
            "nearest_id": np.where(known, nearest, ""),
            "in_domain": inside & known,
        }


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    """Text columns with one type in every block."""
    return table.astype({name: "str" for name in ("ID", "conf_id", "nearest_id", "reason", "detail") if name in table})
