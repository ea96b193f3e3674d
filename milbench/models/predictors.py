"""Prediction heads by name: built as `(in_dim, count, activation, num_layers, dropout, stochastic_depth, fc2_gain_non_last)`.

A predictor is called with x [B, count, in_dim], head k reading x[:, k], and gives one number a head [B, count].
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from milbench.models.contracts import check_predictor
from milbench.models.layers import StackedHeads
from milbench.registry import PREDICTORS


def register_predictor(name: str, builder: Any, *, search: bool = False) -> None:
    """Add a predictor family after its contract check (`milbench.testing.check_predictor`)."""
    check_predictor(builder)
    PREDICTORS.register(name, builder, search=search)


def build_predictor_heads(
    name: str,
    in_dim: int,
    count: int,
    activation: str,
    num_layers: int,
    dropout: float,
    stochastic_depth: float,
    fc2_gain_non_last: float,
) -> nn.Module:
    """Build `count` heads of a registered family."""
    return PREDICTORS.build(name, in_dim, count, activation, num_layers, dropout, stochastic_depth, fc2_gain_non_last)


class LinearHeads(nn.Module):
    """A linear map a head, x [B, count, in_dim] -> [B, count], which learns least by heart; further options play no part."""

    def __init__(self, in_dim: int, count: int, *_: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, in_dim).uniform_(-1, 1) / math.sqrt(in_dim))
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(-1) + self.bias


PREDICTORS.register("mlp_v3", StackedHeads)
PREDICTORS.register("linear", LinearHeads)
