"""2D and conformer embedders by name: `(input_dim, hidden_dim, layers, dropout, activation)`, rows [n, in] -> [n, hidden]."""

from typing import Any

from torch import Tensor, nn

from milbench.models.contracts import check_embedder
from milbench.models.layers import Dropout, ResidualMLP, activation_fn
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


class PlainMLP(nn.Module):
    """`layers` of Linear, LayerNorm, activation and dropout, [n, input_dim] -> [n, hidden_dim]: for thousands of sparse counts.

    The inputs themselves are not normalised, unlike in `ResidualMLP`: how many bits a molecule has stays visible.
    """

    def __init__(self, input_dim: int, hidden_dim: int, layers: int, dropout: float, activation: str = "SiLU") -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (layers - 1)]
        self.linears = nn.ModuleList(nn.Linear(width, hidden_dim) for width in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in widths)
        self.dropout, self.activation = Dropout(dropout), activation_fn(activation).forward

    def forward(self, x: Tensor) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = self.dropout(self.activation(norm(linear(x))))
        return x


MOL_EMBEDDERS.register("mlp_v3_2d", ResidualMLP)
MOL_EMBEDDERS.register("mlp_plain_2d", PlainMLP)
INST_EMBEDDERS.register("mlp_v3_3d", ResidualMLP)
