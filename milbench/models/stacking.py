"""K models of one shape as one: what `torch.func.vmap` needs to be told where rows are ragged or a kernel is our own.

Under vmap a part sees one model's tensors. The functions here are given those of all K at once, with an axis K in front.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def stacked() -> bool:
    """Whether several models are computed at once, by vmap."""
    return torch._C._are_functorch_transforms_active()


def over_models(rule: Callable[..., Any], *args: Any) -> Any:
    """Under vmap: `rule(*args)` of all models' tensors [K, ...] instead of one's; it gives tensors [K, ...]."""
    return _OverModels.apply(rule, *args)


class _OverModels(torch.autograd.Function):
    @staticmethod
    def forward(rule: Callable[..., Any], *args: Any) -> Any:
        return rule(*args)  # never: what vmap does not touch does not come here

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *rule_and_args: Any) -> tuple[Any, Any]:
        rule, *args = rule_and_args

        def leading(x: Any, dim: int | None) -> Any:
            if not isinstance(x, Tensor):
                return x
            return x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)

        out = rule(*(leading(x, dim) for x, dim in zip(args, in_dims[1:], strict=True)))
        return out, 0


def one_after_another(offsets: Tensor, rows: int) -> Tensor:
    """The bags of K models as those of one: offsets [K, n+1] of `rows` rows each, which the last bag fills -> [K·n + 1]."""
    k = len(offsets)
    first = torch.arange(k, device=offsets.device).unsqueeze(1) * rows
    return torch.cat([(offsets[:, :-1] + first).flatten(), offsets.new_full((1,), k * rows)])


def segments_after_another(segment: Tensor, n: int) -> Tensor:
    """The same for segments [K, R] of n bags each -> [K·R]."""
    return (segment + torch.arange(len(segment), device=segment.device).unsqueeze(1) * n).flatten()
