"""The seed's model as one would write it with PyTorch's own modules: padded bags, `nn.MultiheadAttention`, heads one by one.

The yardstick of `step.py`, and no part of the library. Same equations and (after `copy_weights`) same numbers as
`MILTaskAttnMixerWithAux` with the default attention pool; data come molecule by molecule and are padded when collated.
"""

from dataclasses import fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from milbench.configs import MILLossConfig, MILModelConfig
from milbench.data.cv import FoldData
from milbench.data.targets import Targets
from milbench.losses import MultiTaskFocal, group_cross_entropy, reg_loss_weighted
from milbench.models.layers import DROP_PATH, RESIDUAL_DROPOUT, GatedBlock, ResidualMLP, StackedHeads, inner_width
from milbench.models.mil import MILTaskAttnMixerWithAux


class PaddedBatch(NamedTuple):
    """x2d [B, F2], x3d_pad [B, N, F3], kpm [B, N] (True = padding), targets of B molecules."""

    x2d: Tensor
    x3d_pad: Tensor
    kpm: Tensor
    targets: Targets


class MoleculeDataset(Dataset[tuple[Tensor, Tensor, dict[str, Tensor]]]):
    """One molecule an item: x2d [F2], its conformers [N, F3] and its targets. Features are standardised once, beforehand."""

    def __init__(self, fold: FoldData, targets: Targets) -> None:
        everything = fold.batch(torch.arange(len(fold.bags)))
        self.x2d, self.xinst, self.offsets = everything.x2d, everything.xinst, everything.offsets.tolist()
        self.targets = {f.name: getattr(targets, f.name) for f in fields(Targets)}

    def __len__(self) -> int:
        return len(self.x2d)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        bag = self.xinst[self.offsets[i] : self.offsets[i + 1]]
        return self.x2d[i], bag, {name: values[i] for name, values in self.targets.items()}


def pad_collate(items: list[tuple[Tensor, Tensor, dict[str, Tensor]]]) -> PaddedBatch:
    """Stack the molecules and pad their bags with zeros to the longest."""
    x2d, bags, targets = zip(*items, strict=True)
    x3d_pad = nn.utils.rnn.pad_sequence(list(bags), batch_first=True)
    lengths = torch.tensor([len(bag) for bag in bags])
    kpm = torch.arange(x3d_pad.shape[1]) >= lengths.unsqueeze(1)
    stacked = {name: torch.stack([one[name] for one in targets]) for name in targets[0]}
    return PaddedBatch(torch.stack(x2d), x3d_pad, kpm, Targets(**stacked))


class DropPath(nn.Module):
    """Drop the branch of a whole sample (first axis) with probability p."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.empty(x.shape[0], *[1] * (x.dim() - 1), device=x.device, dtype=x.dtype).bernoulli_(1 - self.p)
        return x * keep / (1 - self.p)


class Block(nn.Module):
    """Pre-norm gated residual block of width D."""

    def __init__(self, width: int, dropout: float, activation: str, path_rate: float) -> None:
        super().__init__()
        inner = inner_width(width)
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * inner)
        self.activation: nn.Module = getattr(nn, activation)()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(inner, width)
        self.residual_dropout = nn.Dropout(RESIDUAL_DROPOUT)
        self.scale = nn.Parameter(torch.zeros(()))
        self.drop_path = DropPath(path_rate)

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.fc1(self.norm(x)).chunk(2, dim=-1)
        branch = self.residual_dropout(self.fc2(self.dropout(self.activation(u) * v)))
        return x + self.drop_path(torch.tanh(self.scale) * branch)


class Embedder(nn.Module):
    """LayerNorm and projection where the width changes, then blocks: [*, input_dim] -> [*, hidden_dim]."""

    def __init__(self, input_dim: int, hidden_dim: int, layers: int, dropout: float, activation: str) -> None:
        super().__init__()
        changes = input_dim != hidden_dim
        self.input_norm = nn.LayerNorm(input_dim) if changes else nn.Identity()
        self.project = nn.Linear(input_dim, hidden_dim) if changes else nn.Identity()
        rates = torch.linspace(0, DROP_PATH, layers).tolist()
        self.blocks = nn.Sequential(*(Block(hidden_dim, dropout, activation, rate) for rate in rates))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.project(self.input_norm(x)))


class Head(nn.Module):
    """One prediction head: [B, D] -> [B, out_dim]."""

    def __init__(self, config: MILModelConfig, out_dim: int) -> None:
        super().__init__()
        width, p = config.backbone.mixer_hidden, config.predictor
        rates = torch.linspace(0, p.head_stochastic_depth, p.head_num_layers).tolist()
        self.input_norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, p.head_dropout, config.backbone.activation, rate) for rate in rates))
        self.out = nn.Linear(width, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.blocks(self.input_norm(x)))


class PaddedTaskAttentionPool(nn.Module):
    """Tokens [B, N, D], kpm [B, N] -> pooled [B, T, D], attention [B, T, N]; seed's defaults (normed inputs, tied values)."""

    def __init__(self, dim: int, n_heads: int, dropout: float, n_tasks: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, n_tasks, dim) * 0.02)
        self.query_norm, self.token_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, n_heads, dropout=dropout, batch_first=True)

    def forward(self, tokens: Tensor, kpm: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.token_norm(tokens)
        query = self.query_norm(self.query.expand(len(tokens), -1, -1))
        _, alpha = self.attention(query, tokens, tokens, key_padding_mask=kpm, need_weights=True, average_attn_weights=True)
        alpha = alpha.masked_fill(kpm.unsqueeze(1), 0.0)
        alpha = alpha / alpha.sum(-1, keepdim=True).clamp_min(1e-12)
        w_v, b_v = self.attention.in_proj_weight.chunk(3)[2], self.attention.in_proj_bias.chunk(3)[2]
        return alpha @ F.linear(tokens, w_v, b_v), alpha


class PaddedModel(nn.Module):
    """The flow of seed 2.1 on padded bags; built from the configuration of a milbench model."""

    def __init__(self, config: MILModelConfig) -> None:
        super().__init__()
        b, p = config.backbone, config.predictor
        self.n_tasks, self.n_abs = p.n_tasks, p.n_abs
        self.mol_embedder = Embedder(b.mol_dim, b.mol_hidden, b.mol_layers, b.mol_dropout, b.activation)
        self.inst_embedder = Embedder(b.inst_dim, b.inst_hidden, b.inst_layers, b.inst_dropout, b.activation)
        self.mol_norm, self.inst_norm = nn.LayerNorm(b.mol_hidden), nn.LayerNorm(b.inst_hidden)
        self.pool = PaddedTaskAttentionPool(b.inst_hidden, b.attn_heads, b.attn_dropout, p.n_tasks)
        self.pooled_norm = nn.LayerNorm(b.inst_hidden)
        self.proj2d = nn.Sequential(nn.Linear(b.mol_hidden, b.proj_dim), nn.LayerNorm(b.proj_dim))
        self.proj3d = nn.Sequential(nn.Linear(b.inst_hidden, b.proj_dim), nn.LayerNorm(b.proj_dim))
        self.mixer = Embedder(2 * b.proj_dim, b.mixer_hidden, b.mixer_layers, b.mixer_dropout, b.activation)
        self.mixer_norm = nn.LayerNorm(b.mixer_hidden)
        self.heads = nn.ModuleList(Head(config, 1) for _ in range(p.n_tasks + p.n_abs + p.n_fluo))
        self.bitmask_head = Head(config, p.n_bitmask)

    def forward(self, x2d: Tensor, x3d_pad: Tensor, kpm: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Logits [B, T], abs [B, A], fluo [B, F], attention [B, T, N], bitmask logits [B, G]."""
        e2d = self.proj2d(self.mol_norm(self.mol_embedder(x2d)))
        pooled, attn = self.pool(self.inst_norm(self.inst_embedder(x3d_pad)), kpm)
        e3d = self.proj3d(self.pooled_norm(pooled))
        e2d_rep = e2d.unsqueeze(1).expand(-1, self.n_tasks, -1)
        z = self.mixer_norm(self.mixer(torch.cat([e2d_rep, e3d], dim=-1)))
        shared = z.mean(dim=1)
        logits = torch.cat([head(z[:, t]) for t, head in enumerate(self.heads[: self.n_tasks])], dim=1)
        aux = torch.cat([head(shared) for head in self.heads[self.n_tasks :]], dim=1)
        return logits, aux[:, : self.n_abs], aux[:, self.n_abs :], attn, self.bitmask_head(shared)


class PaddedObjective(nn.Module):
    """Seed 3.3 with milbench's own loss functions, so that the two differ in the model alone."""

    def __init__(self, model: MILTaskAttnMixerWithAux) -> None:
        super().__init__()
        self.config: MILLossConfig = model.config.loss
        self.focal: MultiTaskFocal = model.focal
        self.lam, self.bitmask_weight = model.lam, model.bitmask_weight

    def forward(self, outputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], y: Targets) -> Tensor:
        logits, abs_out, fluo_out, _, bitmask = outputs
        c = self.config
        loss = (self.lam * self.focal(logits, y.y, y.w)).mean()
        loss = loss + c.lambda_aux_abs * reg_loss_weighted(abs_out, y.abs, y.has_abs, y.w_abs, c.reg_loss_type)
        loss = loss + c.lambda_aux_fluo * reg_loss_weighted(fluo_out, y.fluo, y.has_fluo, y.w_fluo, c.reg_loss_type)
        return loss + c.lambda_aux_bitmask * group_cross_entropy(bitmask, y.group, self.bitmask_weight)


def padded_twin(model: MILTaskAttnMixerWithAux) -> PaddedModel:
    """A padded model with a copy of `model`'s weights: in eval mode both give the same numbers."""
    twin = PaddedModel(model.config)
    with torch.no_grad():
        copy_weights(model, twin)
    return twin


def copy_weights(model: MILTaskAttnMixerWithAux, twin: PaddedModel) -> None:
    """Write `model`'s weights into `twin`, in place."""
    for name in ("mol_embedder", "inst_embedder", "mixer"):
        _copy_embedder(getattr(model, name), getattr(twin, name))
    for name in ("mol_norm", "inst_norm", "pooled_norm", "proj2d", "proj3d", "mixer_norm"):
        getattr(twin, name).load_state_dict(getattr(model, name).state_dict())
    source = model.aggregator.state_dict()
    own = {"query", "query_norm.weight", "query_norm.bias", "token_norm.weight", "token_norm.bias"}
    twin.pool.load_state_dict({name if name in own else f"attention.{name}": value for name, value in source.items()})
    heads, bitmask = model.heads, model.bitmask_head
    assert isinstance(heads, StackedHeads) and isinstance(bitmask, StackedHeads)
    for k, head in enumerate(twin.heads):
        _copy_head(heads, k, head)  # type: ignore[arg-type]
    _copy_head(bitmask, 0, twin.bitmask_head)


def _copy_embedder(source: ResidualMLP, target: Embedder) -> None:
    if source.project is not None and source.input_norm is not None:
        target.input_norm.load_state_dict(source.input_norm.state_dict())
        target.project.load_state_dict(source.project.state_dict())
    for block, twin in zip(source.blocks, target.blocks, strict=True):
        assert isinstance(block, GatedBlock)
        twin.load_state_dict(block.state_dict())


def _copy_head(stack: StackedHeads, k: int, head: Head) -> None:
    def norm(i: int) -> dict[str, Tensor]:
        return {"weight": stack.norm_weight[i, k, 0], "bias": stack.norm_bias[i, k, 0]}

    head.input_norm.load_state_dict(norm(0))
    for i, block in enumerate(head.blocks):
        assert isinstance(block, Block)
        block.norm.load_state_dict(norm(i + 1))
        block.fc1.load_state_dict({"weight": stack.fc1_weight[i][k].T, "bias": stack.fc1_bias[i, k, 0]})
        block.fc2.load_state_dict({"weight": stack.fc2_weight[i][k].T, "bias": stack.fc2_bias[i, k, 0]})
        block.scale.copy_(stack.scale[i, k, 0, 0])
    head.out.load_state_dict({"weight": stack.out_weight[k].T, "bias": stack.out_bias[k, 0]})
