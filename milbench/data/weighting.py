"""Class imbalance turned into weights: pure functions of a fold's statistics and the configuration (seed 4.3)."""

from dataclasses import dataclass

import numpy as np

from milbench.configs import LossWeightingConfig
from milbench.data.statistics import FoldStats
from milbench.data.targets import IGNORED_GROUP
from milbench.errors import ConfigError


def positive_weights(stats: FoldStats, config: LossWeightingConfig) -> np.ndarray:
    """BCE weight of a positive, [T]: min(negatives / max(positives, 1), clip)."""
    if len(config.posw_clip) != len(stats.positives):
        do = "build the configuration with HPOConfig.from_params(parameters, tasks)"
        want = f"a value for each of {len(stats.positives)} tasks"
        raise ConfigError("posw_clip", got=len(config.posw_clip), want=want, do=do)
    return np.minimum(stats.negatives / np.maximum(stats.positives, 1), np.asarray(config.posw_clip))


def task_weights(stats: FoldStats, config: LossWeightingConfig) -> np.ndarray:
    """Weight of each task's loss, [T], of mean 1.

    Raw `lam` divided by its mean, clipped to [lam_floor, lam_ceil], divided by its mean again; without `lam`,
    (1 / prevalence)^lambda_power divided by its mean, a task without positives counting as if it had one.
    """
    if config.lam:
        raw = np.asarray(config.lam)
        clipped = np.clip(raw / raw.mean(), config.lam_floor, config.lam_ceil)
        return clipped / clipped.mean()
    known = np.maximum(stats.positives + stats.negatives, 1)
    raw = (known / np.maximum(stats.positives, 1)) ** config.lambda_power
    return raw / raw.mean()


def pattern_weights(masks: np.ndarray, stats: FoldStats, config: LossWeightingConfig) -> np.ndarray:
    """Loss multiplier u_i of each molecule, [n]: clip((median pattern count / count(m_i))^alpha, 1, cap); 1 where unknown.

    masks [n] int64, label patterns with -1 where a label is missing; a pattern that the training fold lacks counts as 1.
    """
    out = np.ones(len(masks))
    if not config.use_bitmask_loss_weight or not stats.mask_counts.size:
        return out
    place = np.searchsorted(stats.mask_ids, masks).clip(0, len(stats.mask_ids) - 1)
    count = np.where(stats.mask_ids[place] == masks, stats.mask_counts[place], 1)
    rarity = (np.median(stats.mask_counts) / count) ** config.bitmask_weight_alpha
    return np.where(masks >= 0, np.clip(rarity, 1, config.bitmask_weight_cap), out)


@dataclass(frozen=True)
class PatternGroups:
    """Classes of the label-pattern head: the most frequent training patterns `ids` [<= K], then 'other' as class K.

    `weights` [K+1] are the cross-entropy class weights. K does not depend on the fold, so classes may be empty.
    """

    ids: np.ndarray
    weights: np.ndarray

    def classes(self, masks: np.ndarray) -> np.ndarray:
        """Class of each pattern, int64 [n]; -100 (ignored by the loss) where a label is missing."""
        if not len(self.weights):
            return np.full(len(masks), IGNORED_GROUP, dtype=np.int64)
        order = np.argsort(self.ids)
        place = np.searchsorted(self.ids[order], masks).clip(0, max(len(self.ids) - 1, 0))
        hit = self.ids[order][place] == masks if len(self.ids) else np.zeros(len(masks), dtype=bool)
        classes = np.where(hit, order[place] if len(self.ids) else 0, len(self.weights) - 1)
        return np.where(masks >= 0, classes, IGNORED_GROUP).astype(np.int64)


def pattern_groups(stats: FoldStats, config: LossWeightingConfig) -> PatternGroups:
    """The `bitmask_group_top_k` most frequent patterns (ties: smaller id first) and their class weights; empty when 0."""
    top_k = min(config.bitmask_group_top_k, 2 ** min(len(stats.positives), 10))
    if top_k == 0:
        return PatternGroups(np.empty(0, np.int64), np.empty(0))
    order = np.lexsort((stats.mask_ids, -stats.mask_counts))[:top_k]
    counts = np.zeros(top_k + 1)
    counts[: len(order)] = stats.mask_counts[order]
    counts[top_k] = stats.mask_counts.sum() - counts.sum()
    present = counts[counts > 0]
    reference = np.median(present) if present.size else 1.0
    weights = (reference / np.maximum(counts, 1)) ** config.bitmask_group_weight_alpha
    return PatternGroups(stats.mask_ids[order], np.clip(weights, 1, config.bitmask_group_weight_cap))
