"""The losses (seed section 3), in float32 whatever the autocast."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milbench.errors import ConfigError


class MultiTaskFocal(nn.Module):
    """Weighted focal BCE for each task (Lin et al. 2017, seed 3.1).

    pos_weight [T] and gamma [T]; called with logits, targets, w [B, T] -> [T]: Σ w·(1−pt)^γ·BCE / max(Σ w, 1e-6), w clamped
    at 0. With `whole` [B', T], the weights of the batch that these B are a part of, Σ w is that batch's: parts add up to it.
    The factor is exp(γ·logsigmoid(−s)), s = logit·(2y−1), whose value and gradient are finite for every γ >= 0.
    """

    pos_weight: Tensor
    gamma: Tensor

    def __init__(self, pos_weight: Tensor, gamma: Tensor) -> None:
        super().__init__()
        if pos_weight.shape != gamma.shape or pos_weight.dim() != 1:
            raise ConfigError(
                "MultiTaskFocal", "shapes", got=f"{tuple(pos_weight.shape)}, {tuple(gamma.shape)}", want="[T], [T]"
            )
        if bool((gamma < 0).any()):
            raise ConfigError("MultiTaskFocal", "gamma", got=gamma.min().item(), want="0 or more")
        self.register_buffer("pos_weight", pos_weight.float())
        self.register_buffer("gamma", gamma.float())

    def forward(self, logits: Tensor, targets: Tensor, w: Tensor, whole: Tensor | None = None) -> Tensor:
        """Loss of each task, float32 (float64 for float64 logits) [T]."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        targets, w = targets.to(logits.dtype), w.to(logits.dtype).clamp_min(0)
        with torch.autocast(logits.device.type, enabled=False):
            signed = logits * (2 * targets - 1)
            weight = torch.where(targets > 0.5, self.pos_weight.to(logits.dtype), 1.0)
            loss = torch.exp(self.gamma.to(logits.dtype) * F.logsigmoid(-signed)) * weight * F.softplus(-signed)
            total = w if whole is None else whole.to(logits.dtype).clamp_min(0)
            return (w * loss).sum(0) / total.sum(0).clamp_min(1e-6)


def reg_loss_weighted(
    pred: Tensor,
    target: Tensor,
    mask: Tensor,
    w: Tensor,
    loss_type: str = "mse",
    whole: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Mean over outputs of Σ w·m·e / max(Σ w·m, 1e-6) (seed 3.2); masked targets, NaN too, touch neither value nor gradient.

    pred, target, w [B, A], mask [B, A] bool; `loss_type` "mse" or "smoothl1"; `whole`: mask and w [B', A] of the batch that
    these B are a part of, whose Σ w·m is divided by -> scalar.
    """
    dtype = pred.dtype if pred.dtype == torch.float64 else torch.float32
    with torch.autocast(pred.device.type, enabled=False):
        weight = torch.where(mask, w.to(dtype).clamp_min(0), 0.0)
        total = weight if whole is None else torch.where(whole[0], whole[1].to(dtype).clamp_min(0), 0.0)
        difference = torch.where(mask, pred.to(dtype) - torch.where(mask, target.to(dtype), 0.0), 0.0)
        if loss_type == "mse":
            error = difference.square()
        elif loss_type == "smoothl1":
            error = F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")
        else:
            raise ConfigError("reg_loss_type", got=loss_type, want="mse or smoothl1")
        return ((weight * error).sum(0) / total.sum(0).clamp_min(1e-6)).mean()


def group_cross_entropy(logits: Tensor, group: Tensor, class_weight: Tensor, whole: Tensor | None = None) -> Tensor:
    """Weighted cross-entropy of the label-pattern head; a batch without any known pattern gives 0.

    logits [B, G], group [B] int64 (-100 is ignored), class_weight [G]; `whole` [B']: the groups of the batch that these B are a
    part of, whose weights are divided by -> scalar.
    """
    dtype = logits.dtype if logits.dtype == torch.float64 else torch.float32
    with torch.autocast(logits.device.type, enabled=False):
        total = F.cross_entropy(logits.to(dtype), group, class_weight.to(dtype), reduction="sum")
        all_groups = group if whole is None else whole
        picked = torch.where(all_groups >= 0, class_weight.to(dtype)[all_groups.clamp_min(0)], 0.0)
        return total / picked.sum().clamp_min(1e-6)
