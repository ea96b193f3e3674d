"""`MILTaskAttnMixerWithAux`: 2D and conformers to per-task logits, auxiliaries and attention (seed 2.1)."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from milbench.configs import MILBackboneConfig, MILModelConfig
from milbench.data.bags import BagBatch, make_batch
from milbench.data.targets import Targets
from milbench.errors import ConfigError
from milbench.losses import MultiTaskFocal, group_cross_entropy, reg_loss_weighted
from milbench.models.aggregators import build_aggregator
from milbench.models.attention_pool import PoolOptions
from milbench.models.embedders import build_2d_embedder, build_3d_embedder
from milbench.models.layers import Dropout, ResidualMLP, StackedHeads
from milbench.models.predictors import build_predictor_heads
from milbench.models.segments import pack, unpack


@dataclass(frozen=True)
class MILOutput:
    """logits [B, T], abs_out [B, A], fluo_out [B, F], attn [R, T] (summing to 1 a molecule), bitmask [B, G] or None."""

    logits: Tensor
    abs_out: Tensor
    fluo_out: Tensor
    attn: Tensor
    bitmask: Tensor | None


@dataclass(frozen=True)
class LossTerms:
    """total (what is minimised), per_task [T] before weighting, and the auxiliary terms; scalars but per_task."""

    total: Tensor
    per_task: Tensor
    abs: Tensor
    fluo: Tensor
    bitmask: Tensor


class MILTaskAttnMixerWithAux(nn.Module):
    """Multi-task attention MIL with auxiliary heads.

    `from_config` builds it. `forward_bags(BagBatch)` is what training uses; `forward` takes the seed's padded input, packs it
    and calls the same code.
    """

    lam: Tensor
    bitmask_weight: Tensor

    def __init__(
        self,
        config: MILModelConfig,
        pos_weight: Tensor,
        gamma: Tensor,
        lam: Tensor,
        bitmask_weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        b, p = config.backbone, config.predictor
        if not pos_weight.shape == gamma.shape == lam.shape == (p.n_tasks,):
            raise ConfigError("loss tensors", got=f"{len(pos_weight)}, {len(gamma)}, {len(lam)} tasks", want=str(p.n_tasks))
        self.mol_input = Dropout(b.mol_input_dropout)
        self.mol_embedder = build_2d_embedder(
            b.mol_embedder_name, b.mol_dim, b.mol_hidden, b.mol_layers, b.mol_dropout, b.activation
        )
        self.inst_embedder = build_3d_embedder(
            b.inst_embedder_name, b.inst_dim, b.inst_hidden, b.inst_layers, b.inst_dropout, b.activation
        )
        self.mol_norm, self.inst_norm = nn.LayerNorm(b.mol_hidden), nn.LayerNorm(b.inst_hidden)
        self.aggregator = build_aggregator(
            b.aggregator_name, b.inst_hidden, b.attn_heads, b.attn_dropout, p.n_tasks, **_pool_options(b)
        )
        self.pooled_norm = nn.LayerNorm(b.inst_hidden)
        self.proj2d = nn.Sequential(nn.Linear(b.mol_hidden, b.proj_dim), nn.LayerNorm(b.proj_dim))
        self.proj3d = nn.Sequential(nn.Linear(b.inst_hidden, b.proj_dim), nn.LayerNorm(b.proj_dim))
        self.mixer = ResidualMLP(2 * b.proj_dim, b.mixer_hidden, b.mixer_layers, b.mixer_dropout, b.activation)
        self.mixer_norm = nn.LayerNorm(b.mixer_hidden)
        depth = (p.head_num_layers, p.head_dropout, p.head_stochastic_depth, p.head_fc2_gain_non_last)
        count = p.n_tasks + p.n_abs + p.n_fluo
        self.heads = build_predictor_heads(p.predictor_name, b.mixer_hidden, count, b.activation, *depth)
        self.bitmask_head = StackedHeads(b.mixer_hidden, 1, b.activation, *depth, out_dim=p.n_bitmask) if p.n_bitmask else None
        self.focal = MultiTaskFocal(pos_weight, gamma)
        self.register_buffer("lam", lam.float())
        weight = torch.ones(p.n_bitmask) if bitmask_weight is None else bitmask_weight
        self.register_buffer("bitmask_weight", weight.float())

    @classmethod
    def from_config(
        cls,
        config: MILModelConfig,
        *,
        pos_weight: Tensor,
        gamma: Tensor,
        lam: Tensor,
        bitmask_weight: Tensor | None = None,
    ) -> "MILTaskAttnMixerWithAux":
        """One model from one configuration and the fold's loss tensors: pos_weight, gamma, lam [T], bitmask_weight [G]."""
        return cls(config, pos_weight, gamma, lam, bitmask_weight)

    def forward(
        self, x2d: Tensor, x3d_pad: Tensor, kpm: Tensor, return_attn: bool = False, return_bitmask: bool = False
    ) -> tuple[Tensor, ...]:
        """Padded bags: x2d [B, F2], x3d_pad [B, N, F3], kpm [B, N] (True = padding).

        Gives (logits [B, T], abs_out [B, A], fluo_out [B, F]), then attn [B, T, N] (exact zeros on padding) if `return_attn`,
        then bitmask logits [B, K+1] if `return_bitmask`.
        """
        kpm = kpm.bool()
        xinst, offsets = pack(x3d_pad, kpm)
        out = self.forward_bags(make_batch(x2d, xinst, offsets))
        extra = [unpack(out.attn, kpm).transpose(1, 2)] if return_attn else []
        if return_bitmask:
            if out.bitmask is None:
                raise ConfigError("return_bitmask", "this model has no label-pattern head", do="set bitmask_group_top_k > 0")
            extra.append(out.bitmask)
        return (out.logits, out.abs_out, out.fluo_out, *extra)

    def task_embeddings(self, batch: BagBatch) -> tuple[Tensor, Tensor]:
        """z [B, T, mixer_hidden] and attention [R, T]; the last bag of a bucketed batch is pooled and left."""
        e2d = self.proj2d(self.mol_norm(self.mol_embedder(self.mol_input(batch.x2d))))
        tokens = self.inst_norm(self.inst_embedder(batch.xinst))
        pooled, attn = self.aggregator(tokens, batch.offsets, batch.segment)
        e3d = self.proj3d(self.pooled_norm(pooled[: len(batch)]))
        return self.mixer_norm(self.mixer.forward_pair(e2d, e3d)), attn

    def forward_bags(self, batch: BagBatch) -> MILOutput:
        """Ragged bags, no padding anywhere; an empty bag is predicted from 2D alone."""
        p = self.config.predictor
        z, attn = self.task_embeddings(batch)
        shared = z.mean(1, keepdim=True)
        out = self.heads(torch.cat([z, shared.expand(-1, p.n_abs + p.n_fluo, -1)], dim=1))
        logits, abs_out, fluo_out = out.split([p.n_tasks, p.n_abs, p.n_fluo], dim=1)
        bitmask = None if self.bitmask_head is None else self.bitmask_head(shared).squeeze(1)
        return MILOutput(logits, abs_out, fluo_out, attn, bitmask)

    def predict(self, batch: BagBatch) -> tuple[Tensor, Tensor]:
        """Logits [B, T] and attention [R, T] as `forward_bags` gives them; stacked heads that are auxiliary stay out of it."""
        if not isinstance(self.heads, StackedHeads):
            out = self.forward_bags(batch)
            return out.logits, out.attn
        z, attn = self.task_embeddings(batch)
        return self.heads(z), attn

    def loss(self, batch: BagBatch, whole: Targets | None = None) -> LossTerms:
        """The objective of seed 3.3: mean(lam · focal) + weighted auxiliary terms; an absent term is exactly 0.

        `whole`: the targets of the batch that this one is a part of; the losses of its parts add up to its loss.
        """
        y, config, heads = batch.targets, self.config.loss, self.config.predictor
        if y is None:
            raise ConfigError("loss", "this batch has no targets")
        whole, kind = whole or y, config.reg_loss_type
        out = self.forward_bags(batch)
        per_task = self.focal(out.logits, y.y, y.w, whole.w)
        loss_abs = loss_fluo = bitmask = per_task.new_zeros(())
        if heads.n_abs:
            loss_abs = reg_loss_weighted(out.abs_out, y.abs, y.has_abs, y.w_abs, kind, (whole.has_abs, whole.w_abs))
        if heads.n_fluo:
            loss_fluo = reg_loss_weighted(out.fluo_out, y.fluo, y.has_fluo, y.w_fluo, kind, (whole.has_fluo, whole.w_fluo))
        if out.bitmask is not None:
            bitmask = group_cross_entropy(out.bitmask, y.group, self.bitmask_weight, whole.group)
        total = (self.lam.to(per_task.dtype) * per_task).mean()
        total = total + config.lambda_aux_abs * loss_abs + config.lambda_aux_fluo * loss_fluo
        return LossTerms(total + config.lambda_aux_bitmask * bitmask, per_task.detach(), loss_abs, loss_fluo, bitmask)


def _pool_options(config: MILBackboneConfig) -> dict[str, object]:
    """The attention options that were changed; the defaults are every aggregator's."""
    return {f.name: getattr(config, f.name) for f in fields(PoolOptions) if getattr(config, f.name) != f.default}
