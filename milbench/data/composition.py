"""Which molecules make a batch (seed section 4.3, steps 1-7), a whole epoch drawn at once. Loads no torch."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from milbench.configs import SamplerConfig
from milbench.errors import ConfigError
from milbench.seeds import stream


def task_rarity(prevalence: np.ndarray, config: SamplerConfig) -> np.ndarray:
    """Rarity r_t in [0, 1] of each task (step 1); legacy `rare_prev_thr`: 1 below the threshold, else 0. prevalence [T]."""
    if config.rare_prev_thr is not None:
        return (prevalence < config.rare_prev_thr).astype(np.float64)
    return np.clip((config.rare_target_prev - prevalence) / config.rare_target_prev, 0, 1)


def sample_weights(y: np.ndarray, config: SamplerConfig) -> np.ndarray:
    """Draw weight w_i of each molecule (steps 2-3), [n]. y [n, T] 0/1 with NaN where missing (never a positive)."""
    known = np.maximum(np.isfinite(y).sum(axis=0), 1)
    rarity = task_rarity((y == 1).sum(axis=0) / known, config)
    rarest = ((y == 1) * rarity).max(axis=1)
    return np.clip(1 + config.rare_oversample_mult * rarest, 1, config.sample_weight_cap)


def scaled_quota(per_256: float, batch_size: int) -> int:
    """Places reserved in a batch: max(1, round(b·q/256)) for q > 0, else 0."""
    return max(1, round(batch_size * per_256 / 256)) if per_256 > 0 else 0


class _Pool:
    """Molecules that one slot is drawn from, with replacement, with probability proportional to their weights."""

    def __init__(self, members: np.ndarray, weights: np.ndarray | None = None) -> None:
        self.members = members
        self._cumulated = None if weights is None else np.cumsum(weights[members])

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        if self._cumulated is None:
            return self.members[rng.integers(len(self.members), size=shape)]
        at = rng.random(shape) * self._cumulated[-1]
        return self.members[np.searchsorted(self._cumulated, at, side="right").clip(0, len(self.members) - 1)]


class BatchComposition:
    """A quota of positives, rare endpoints and multi-positives first, the rest negatives, batch by batch.

    y [n, T] (0/1, NaN missing) are the labels of the training molecules. An epoch has ceil(n / batch_size) batches. It is a
    pure function of (seed, fold, epoch, rank). `share` = (rank, world size): every rank draws its part of one global batch.
    """

    def __init__(
        self,
        y: np.ndarray,
        config: SamplerConfig,
        batch_size: int,
        *,
        seed: int = 0,
        fold: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        rank, world = share
        if batch_size % world or batch_size < world:
            raise ConfigError("batch_size", got=batch_size, want=f"a multiple of the {world} processes")
        self.config, self.seed, self.fold, self.rank = config, seed, fold, rank
        self.n_batches = -(-len(y) // batch_size)
        self.batch_size, self.global_batch_size = batch_size // world, batch_size
        self.y = y
        self.weights = sample_weights(y, config)
        positive = (y == 1).any(axis=1)
        self._positives = _Pool(np.flatnonzero(positive), self.weights)
        self._negatives = _Pool(np.flatnonzero(~positive))
        self.n_pos = self._positive_places()
        places = self._places()
        seats = np.repeat(np.arange(len(places)), [count for _, count in places])[rank::world]  # dealt out like cards
        self._own = [(pool, int((seats == i).sum())) for i, (pool, _) in enumerate(places)]

    def _positive_places(self) -> int:
        """Step 4: positives in a global batch."""
        if not len(self._positives.members):
            return 0
        high = self.global_batch_size - 1 if len(self._negatives.members) else self.global_batch_size
        target = round(self.global_batch_size * self.config.batch_pos_fraction)
        return min(max(self.config.min_pos_per_batch, target, 1), max(high, 0))

    def _places(self) -> list[tuple[_Pool, int]]:
        """The places of a global batch: reserved ones (step 5), the rest of the positives, negatives (step 6)."""
        reserved = self._reserved()
        rest = self.n_pos - sum(count for _, count in reserved)
        filler = self._negatives if len(self._negatives.members) else self._positives
        return [*reserved, (self._positives, rest), (filler, self.global_batch_size - self.n_pos)]

    def _reserved(self) -> list[tuple[_Pool, int]]:
        """Step 5: reserved places, rarest endpoint first, then multi-positives, as long as positives have places."""
        if not self.config.enforce_bitmask_quota:
            return []
        positive = self.y == 1
        counts = positive.sum(axis=0)
        order = np.argsort(counts, kind="stable")
        quotas = self.config.quota_per_256 or (0.0,) * len(counts)
        wanted = [(positive[:, t], quotas[t]) for t in order] + [(positive.sum(axis=1) >= 2, self.config.quota_multi_per_256)]
        out, left = [], self.n_pos
        for member, per_256 in wanted:
            places = min(scaled_quota(per_256, self.global_batch_size), left)
            if places and member.any():
                out.append((_Pool(np.flatnonzero(member), self.weights), places))
                left -= places
        return out

    def draw(self, epoch: int) -> np.ndarray:
        """All batches of an epoch: places in y, int64 [n_batches, batch_size] (steps 5-7)."""
        if not self.config.use_balanced_batch_sampler:
            return self._shuffled(epoch)
        rng = stream(self.seed, "sampler", self.fold, epoch, self.rank)
        parts = [pool.draw(rng, (self.n_batches, places)) for pool, places in self._own if places]
        return rng.permuted(np.concatenate(parts, axis=1), axis=1)

    def _shuffled(self, epoch: int) -> np.ndarray:
        """Every molecule once, shuffled, the last batch filled up from the start; each rank takes its columns."""
        order = stream(self.seed, "shuffle", self.fold, epoch).permutation(len(self.y))
        world = self.batch_size * self.rank, self.batch_size * (self.rank + 1)
        return np.resize(order, (self.n_batches, self.global_batch_size))[:, slice(*world)]

    def preview(self, epochs: int = 1) -> pd.DataFrame:
        """What the first `epochs` hold, a row a batch: epoch, batch, positives of each task (t0, t1, …), multi-positives,
        distinct positives, and how often each positive of the rarest task is repeated within the epoch (mean)."""
        positive = self.y == 1
        rare = int(np.argmin(np.where(positive.any(axis=0), positive.sum(axis=0), len(self.y) + 1)))
        frames = []
        for epoch in range(epochs):
            drawn = self.draw(epoch)
            hits = positive[drawn]
            rare_drawn = drawn[hits[:, :, rare]]
            frame = pd.DataFrame(hits.sum(axis=1), columns=[f"t{t}" for t in range(self.y.shape[1])])
            frame.insert(0, "epoch", epoch)
            frame.insert(1, "batch", np.arange(len(frame)))
            frame["multi_positives"] = (hits.sum(axis=2) >= 2).sum(axis=1)
            frame["distinct_positives"] = [len(np.unique(row[hit.any(axis=1)])) for row, hit in zip(drawn, hits, strict=True)]
            frame["rare_repeats"] = len(rare_drawn) / max(len(np.unique(rare_drawn)), 1)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def summary(self, names: Sequence[str], epoch: int = 0) -> pd.DataFrame:
        """What an epoch's batches hold, a row an endpoint: endpoint, positives (there are), mean, least and most in a batch,
        shuffled (mean of plain shuffling), repeats (draws of each positive that is drawn), share of the positives drawn.
        """
        positive, drawn = self.y == 1, self.draw(epoch)
        hits = positive[drawn].sum(axis=1)
        rows = []
        for t, name in enumerate(names):
            there, picked = int(positive[:, t].sum()), drawn[positive[drawn, t]]
            distinct = len(np.unique(picked))
            rows.append(
                {
                    "endpoint": name,
                    "positives": there,
                    "mean": hits[:, t].mean(),
                    "least": int(hits[:, t].min()),
                    "most": int(hits[:, t].max()),
                    "shuffled": there / max(len(self.y), 1) * self.batch_size,
                    "repeats": len(picked) / max(distinct, 1),
                    "share": distinct / max(there, 1),
                }
            )
        return pd.DataFrame(rows)
