"""From hyperparameters and a fold to a model (seed 1.1)."""

import dataclasses
from dataclasses import dataclass

import torch

from milbench.configs import (
    HPOConfig,
    MILBackboneConfig,
    MILLossConfig,
    MILModelConfig,
    MILOptimizationConfig,
    MILPredictorConfig,
)
from milbench.data.cv import FoldData
from milbench.data.weighting import positive_weights, task_weights
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.seeds import stream_seed


@dataclass(frozen=True)
class MILModelBuilder:
    """Builds the model of one fold, its initial weights drawn from (seed, fold) alone."""

    seed: int = 0

    def config(self, config: HPOConfig, fold: FoldData) -> MILModelConfig:
        """The model's own configuration: the hyperparameters with the widths and counts that the data have."""
        raw = fold.bags.raw
        backbone = MILBackboneConfig(**vars(config.backbone), mol_dim=fold.bags.x2d.shape[1], inst_dim=fold.bags.xinst.shape[1])
        counts = {"n_tasks": raw.y.shape[1], "n_abs": raw.abs.shape[1], "n_fluo": raw.fluo.shape[1]}
        predictor = MILPredictorConfig(**vars(config.head), **counts, n_bitmask=len(fold.groups(config.loss).weights))
        return MILModelConfig(
            backbone=backbone,
            predictor=predictor,
            optimization=MILOptimizationConfig(**dataclasses.asdict(config.optimization)),
            loss=MILLossConfig(**dataclasses.asdict(config.loss)),
        )

    def build(self, config: HPOConfig, fold: FoldData) -> MILTaskAttnMixerWithAux:
        """A freshly initialised model with the fold's loss tensors."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.seed, "init", fold.number))
            return MILTaskAttnMixerWithAux.from_config(
                self.config(config, fold),
                pos_weight=torch.as_tensor(positive_weights(fold.stats, config.loss)),
                gamma=torch.tensor(config.loss.gamma),
                lam=torch.as_tensor(task_weights(fold.stats, config.loss)),
                bitmask_weight=torch.as_tensor(fold.groups(config.loss).weights),
            )
