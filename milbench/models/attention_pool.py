"""Task attention over conformers: one learned query a task, no keys, values projected after pooling."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milbench.errors import ConfigError
from milbench.models.layers import Dropout
from milbench.models.segments import segment_pool, segment_softmax, segment_sum

_TINY = 1e-12
_CHOICES = {
    "pool_from": ("normed_inputs", "inputs", "attn_out"),
    "pool_v_mode": ("tie_mha_v", "linear", "none"),
    "topk_strategy": ("renorm", "mean", "sum", "argmax"),
    "residual_pooling": ("none", "gate", "sum"),
}


@dataclass(frozen=True)
class PoolOptions:
    """The seed's options of the attention pool (seed 2.3); see `BackboneConfig` for what each does."""

    pool_from: str = "normed_inputs"
    pool_v_mode: str = "tie_mha_v"
    use_temperature: bool = False
    topk_n: int = 0
    topk_strategy: str = "renorm"
    prune_below: float = 0.0
    residual_pooling: str = "none"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError("TaskAttentionPool", name, got=getattr(self, name), want=", ".join(choices))
        if self.topk_n < 0 or not 0 <= self.prune_below < 1:
            raise ConfigError(
                "TaskAttentionPool", got=(self.topk_n, self.prune_below), want="topk_n >= 0, 0 <= prune_below < 1"
            )


class TaskAttentionPool(nn.Module):
    """Pools the R instances of B molecules into one vector a task: tokens [R, D] -> pooled [B, T, D], alpha [R, T].

    Parameters are laid out as in `torch.nn.MultiheadAttention` (in_proj_weight [3D, D], in_proj_bias [3D], out_proj), so a
    state dict of one loads. alpha is the mean over heads of the softmax weights, renormalised over the instances; after top-k
    and pruning it is the share of each instance among those that were pooled. An empty bag is pooled to zeros.
    """

    def __init__(self, dim: int, n_heads: int, dropout: float, n_tasks: int, **options: Any) -> None:
        super().__init__()
        if dim % n_heads:
            raise ConfigError(
                "TaskAttentionPool", f"dim={dim} is not a multiple of n_heads={n_heads}", do="change one of the two"
            )
        self.dim, self.n_heads, self.n_tasks = dim, n_heads, n_tasks
        self.options = PoolOptions(**options)
        self.query = nn.Parameter(torch.randn(1, n_tasks, dim) * 0.02)
        self.query_norm, self.token_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)
        self.out_proj.requires_grad_(self.options.pool_from == "attn_out")  # only then is it used
        self.v_proj = nn.Linear(dim, dim) if self.options.pool_v_mode == "linear" else None
        self.log_tau = nn.Parameter(torch.tensor(0.3).log()) if self.options.use_temperature else None
        self.gate = nn.Parameter(torch.zeros(())) if self.options.residual_pooling == "gate" else None
        self.dropout = Dropout(dropout)

    def score_matrix(self) -> Tensor:
        """A [T·H, D] with scores = x̂ Aᵀ: A[(t,h)] = Q[t,h] W_k[h] / √d, Q = LN(query) W_qᵀ + b_q, divided by the temperature.

        The key bias adds one constant per (t, h) and cancels in the softmax, so keys are never computed.
        """
        dim, heads = self.dim, self.n_heads
        w_q, w_k, _ = self.in_proj_weight.chunk(3)
        q = F.linear(self.query_norm(self.query[0]), w_q, self.in_proj_bias[:dim])
        q = q.view(self.n_tasks, heads, dim // heads)
        scores = torch.einsum("thd,hdk->thk", q, w_k.view(heads, dim // heads, dim)) * (dim // heads) ** -0.5
        if self.log_tau is not None:
            scores = scores / self.log_tau.exp().clamp(0.1, 10)
        return scores.reshape(self.n_tasks * heads, dim)

    def forward(self, tokens: Tensor, offsets: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        n = len(offsets) - 1
        normed = self.token_norm(tokens)
        scores = F.linear(normed, self.score_matrix())
        with torch.autocast(tokens.device.type, enabled=False):
            exact = scores if scores.dtype == torch.float64 else scores.float()
            per_head = segment_softmax(exact, offsets, segment).view(-1, self.n_tasks, self.n_heads)
            per_head = self.dropout(per_head)
            alpha = renormalised(per_head.mean(-1), segment, n)
            chosen = self._select(alpha, offsets, segment)
            weights = self._with_mean_pooling(chosen, offsets, segment)
        if self.options.pool_from == "attn_out":
            pooled = self._attention_output(normed, per_head, alpha, chosen, offsets, segment)
        else:
            source = normed if self.options.pool_from == "normed_inputs" else tokens
            pooled = self._project(segment_pool(weights.to(source.dtype), source, segment, n), weights, segment, n)
        return pooled, chosen if chosen is alpha else renormalised(chosen, segment, n)

    def _select(self, alpha: Tensor, offsets: Tensor, segment: Tensor) -> Tensor:
        options = self.options
        if options.topk_n:
            alpha = top_k(alpha, offsets, segment, options.topk_n, options.topk_strategy)
        return prune(alpha, offsets, segment, options.prune_below) if options.prune_below else alpha

    def _with_mean_pooling(self, alpha: Tensor, offsets: Tensor, segment: Tensor) -> Tensor:
        """Blend with uniform weights over the valid instances: g·alpha + (1 − g)/N, or alpha + 1/N."""
        if self.options.residual_pooling == "none":
            return alpha
        uniform = (1 / offsets.diff().to(alpha.dtype))[segment].unsqueeze(-1)
        if self.gate is None:
            return alpha + uniform
        gate = torch.sigmoid(self.gate)
        return gate * alpha + (1 - gate) * uniform

    def _project(self, pooled: Tensor, weights: Tensor, segment: Tensor, n: int) -> Tensor:
        """Values after pooling: Σ_i α_i (W x_i + b) = W (Σ_i α_i x_i) + b Σ_i α_i."""
        if self.options.pool_v_mode == "none":
            return pooled
        if self.v_proj is not None:
            weight, bias = self.v_proj.weight, self.v_proj.bias
        else:
            weight, bias = self.in_proj_weight[2 * self.dim :], self.in_proj_bias[2 * self.dim :]
        total = segment_sum(weights, segment, n).unsqueeze(-1)
        return F.linear(pooled, weight) + (total * bias).to(pooled.dtype)

    def _attention_output(
        self, normed: Tensor, per_head: Tensor, alpha: Tensor, chosen: Tensor, offsets: Tensor, segment: Tensor
    ) -> Tensor:
        """The multi-head attention's own output; top-k, pruning and the blend scale an instance alike in every head."""
        n, head_dim = len(offsets) - 1, self.dim // self.n_heads
        if chosen is not alpha:
            per_head = per_head * (chosen / alpha.clamp_min(_TINY)).unsqueeze(-1)
        weights = self._with_mean_pooling(per_head.flatten(1), offsets, segment).view_as(per_head)
        values = F.linear(normed, self.in_proj_weight[2 * self.dim :], self.in_proj_bias[2 * self.dim :])
        values = values.view(-1, 1, self.n_heads, head_dim)
        pooled = segment_sum((weights.unsqueeze(-1) * values).flatten(2), segment, n)
        return self.out_proj(pooled.to(values.dtype)) * (offsets.diff() > 0).view(-1, 1, 1)


def renormalised(alpha: Tensor, segment: Tensor, n: int) -> Tensor:
    """alpha [R, T] summing to 1 over each molecule."""
    return alpha / segment_sum(alpha, segment, n).clamp_min(_TINY)[segment]


def _rank(alpha: Tensor, offsets: Tensor, segment: Tensor) -> Tensor:
    """0 for the most attended instance of its bag, 1 for the next, …, for each task: alpha [R, T] -> [R, T] int64."""
    by_weight = torch.argsort(alpha.detach(), dim=0, descending=True, stable=True)
    by_bag = torch.argsort(segment[by_weight], dim=0, stable=True)
    order = by_weight.gather(0, by_bag)
    place = torch.arange(len(alpha), device=alpha.device) - offsets[segment]
    return torch.empty_like(order).scatter(0, order, place.unsqueeze(1).expand_as(order))


def top_k(alpha: Tensor, offsets: Tensor, segment: Tensor, k: int, strategy: str) -> Tensor:
    """Keep the k most attended instances of each bag (fewer where the bag is smaller), for each task; alpha [R, T].

    "renorm": their weights, renormalised; "sum": their weights as they are; "mean": equal weights; "argmax": the first alone.
    """
    n, rank = len(offsets) - 1, _rank(alpha, offsets, segment)
    kept = (rank < (1 if strategy == "argmax" else k)).to(alpha.dtype)
    if strategy in ("mean", "argmax"):
        return renormalised(kept, segment, n)
    return alpha * kept if strategy == "sum" else renormalised(alpha * kept, segment, n)


def prune(alpha: Tensor, offsets: Tensor, segment: Tensor, below: float) -> Tensor:
    """Drop instances attended less than `below` and renormalise; where none is left the most attended stays. alpha [R, T]."""
    kept = (alpha >= below) | (_rank(alpha, offsets, segment) == 0)
    return renormalised(alpha * kept, segment, len(offsets) - 1)
