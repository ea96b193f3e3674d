"""The model and its parts by name (seed section 2.0)."""

from milbench.configs import MILBackboneConfig, MILLossConfig, MILModelConfig, MILOptimizationConfig, MILPredictorConfig
from milbench.models.aggregators import build_aggregator, register_aggregator
from milbench.models.attention_pool import TaskAttentionPool
from milbench.models.builder import MILModelBuilder
from milbench.models.embedders import build_2d_embedder, build_3d_embedder, register_2d_embedder, register_3d_embedder
from milbench.models.mil import MILOutput, MILTaskAttnMixerWithAux
from milbench.models.predictors import build_predictor_heads, register_predictor

__all__ = [
    "MILBackboneConfig",
    "MILLossConfig",
    "MILModelBuilder",
    "MILModelConfig",
    "MILOptimizationConfig",
    "MILOutput",
    "MILPredictorConfig",
    "MILTaskAttnMixerWithAux",
    "TaskAttentionPool",
    "build_2d_embedder",
    "build_3d_embedder",
    "build_aggregator",
    "build_predictor_heads",
    "register_2d_embedder",
    "register_3d_embedder",
    "register_aggregator",
    "register_predictor",
]
