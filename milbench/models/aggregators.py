"""Pooling of conformers by name: task attention and the field's baselines, each giving one vector a task.

An aggregator is built as `(dim, n_heads, dropout, n_tasks, **options)` and called with tokens [R, D], offsets [B+1] and
segment [R]; it gives pooled [B, T, D] (zeros for an empty bag) and attention [R, T], which sums to 1 over each molecule.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from milbench.errors import ConfigError
from milbench.models.attention_pool import TaskAttentionPool
from milbench.models.contracts import check_aggregator
from milbench.models.layers import Dropout
from milbench.models.segments import segment_max, segment_pool, segment_softmax, segment_sum
from milbench.registry import AGGREGATORS


class _PerTask(nn.Module):
    """What the baselines share: LayerNorm before pooling and one linear map a task after it."""

    def __init__(self, dim: int, n_tasks: int, options: dict[str, Any]) -> None:
        super().__init__()
        if options:
            raise ConfigError(
                type(self).__name__, "has no such option", got=", ".join(options), want="the defaults of attention pooling"
            )
        self.norm = nn.LayerNorm(dim)
        self.weight = nn.Parameter(torch.empty(n_tasks, dim, dim).uniform_(-1 / math.sqrt(dim), 1 / math.sqrt(dim)))
        self.n_tasks = n_tasks

    def project(self, pooled: Tensor) -> Tensor:
        """pooled [B, T or 1, D] -> [B, T, D]; zeros stay zeros."""
        return torch.einsum("btd,tde->bte", pooled.expand(-1, self.n_tasks, -1), self.weight.to(pooled.dtype))


class MeanPool(_PerTask):
    """The mean over conformers, with uniform attention."""

    def __init__(self, dim: int, n_heads: int, dropout: float, n_tasks: int, **options: Any) -> None:
        super().__init__(dim, n_tasks, options)

    def forward(self, tokens: Tensor, offsets: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        uniform = (1 / offsets.diff().to(tokens.dtype))[segment].unsqueeze(1)
        pooled = segment_pool(uniform, self.norm(tokens), segment, len(offsets) - 1)
        return self.project(pooled), uniform.expand(-1, self.n_tasks)


class MaxPool(_PerTask):
    """The maximum of each feature over conformers; an instance's attention is the share of features in which it is highest."""

    def __init__(self, dim: int, n_heads: int, dropout: float, n_tasks: int, **options: Any) -> None:
        super().__init__(dim, n_tasks, options)

    def forward(self, tokens: Tensor, offsets: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.norm(tokens)
        highest = segment_max(normed, offsets)
        pooled = torch.where((offsets.diff() > 0).unsqueeze(1), highest, 0.0)
        wins = (normed == pooled[segment]).to(normed.dtype)
        share = (wins / segment_sum(wins, segment, len(offsets) - 1)[segment]).mean(1, keepdim=True).detach()
        return self.project(pooled.unsqueeze(1)), share.expand(-1, self.n_tasks)


class GatedAttention(_PerTask):
    """Gated attention with one attention vector a task: softmax(w_tᵀ(tanh(V x) ⊙ sigmoid(U x))) (Ilse et al. 2018, eq. 9)."""

    def __init__(self, dim: int, n_heads: int, dropout: float, n_tasks: int, **options: Any) -> None:
        super().__init__(dim, n_tasks, options)
        self.gates = nn.Linear(dim, dim)  # V and U, dim/2 each
        self.score = nn.Linear(dim // 2, n_tasks, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, offsets: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.norm(tokens)
        content, gate = self.gates(normed)[:, : 2 * self.score.in_features].chunk(2, dim=-1)
        scores = self.score(self.dropout(torch.tanh(content) * torch.sigmoid(gate)))
        alpha = segment_softmax(scores if scores.dtype == torch.float64 else scores.float(), offsets, segment)
        return self.project(segment_pool(alpha.to(normed.dtype), normed, segment, len(offsets) - 1)), alpha


def register_aggregator(name: str, builder: Any, *, search: bool = False) -> None:
    """Add an aggregator after its contract check (`milbench.testing.check_aggregator`); `search=True`: HPO may choose it."""
    check_aggregator(builder)
    AGGREGATORS.register(name, builder, search=search)


def build_aggregator(name: str, dim: int, n_heads: int, dropout: float, n_tasks: int, **options: Any) -> nn.Module:
    """Build a registered aggregator."""
    return AGGREGATORS.build(name, dim, n_heads, dropout, n_tasks, **options)


for _name, _builder in {
    "task_attention_pool": TaskAttentionPool,
    "mean_pool": MeanPool,
    "max_pool": MaxPool,
    "gated_attention": GatedAttention,
}.items():
    AGGREGATORS.register(_name, _builder)  # the tests run the contract over everything registered
