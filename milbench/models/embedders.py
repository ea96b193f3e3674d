"""2D and conformer embedders by name: `(input_dim, hidden_dim, layers, dropout, activation)`, rows [n, in] -> [n, hidden]."""

from typing import Any

from torch import nn

from milbench.models.contracts import check_embedder
from milbench.models.layers import ResidualMLP
from milbench.registry import INST_EMBEDDERS, MOL_EMBEDDERS


def register_2d_embedder(name: str, builder: Any, *, search: bool = False) -> None:
    """Add a 2D embedder after its contract check (`milbench.testing.check_embedder`)."""
    check_embedder(builder)
    MOL_EMBEDDERS.register(name, builder, search=search)


def register_3d_embedder(name: str, builder: Any, *, search: bool = False) -> None:
    """Add a conformer embedder after its contract check (`milbench.testing.check_embedder`)."""
    check_embedder(builder)
    INST_EMBEDDERS.register(name, builder, search=search)


def build_2d_embedder(name: str, input_dim: int, hidden_dim: int, layers: int, dropout: float, activation: str) -> nn.Module:
    """Build a registered 2D embedder; the legacy name `mlp_v3` is `mlp_v3_2d`."""
    return MOL_EMBEDDERS.build(name, input_dim, hidden_dim, layers, dropout, activation)


def build_3d_embedder(name: str, input_dim: int, hidden_dim: int, layers: int, dropout: float, activation: str) -> nn.Module:
    """Build a registered conformer embedder; the legacy name `mlp_v3` is `mlp_v3_3d`."""
    return INST_EMBEDDERS.build(name, input_dim, hidden_dim, layers, dropout, activation)


MOL_EMBEDDERS.register("mlp_v3_2d", ResidualMLP)
INST_EMBEDDERS.register("mlp_v3_3d", ResidualMLP)
