"""Residual gated MLPs: the V3 embedder block, the stack of heads, and the noise that trains them (spec section 3)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milbench.errors import ConfigError

RESIDUAL_DROPOUT = 0.05
DROP_PATH = 0.05

_ACTIVATIONS = {"GELU": F.gelu, "SiLU": F.silu, "Mish": F.mish, "ReLU": F.relu, "LeakyReLU": F.leaky_relu}


def activation_fn(name: str):  # noqa: ANN201
    """The activation by its torch.nn name."""
    if name not in _ACTIVATIONS:
        raise ConfigError("activation", got=name, want=", ".join(_ACTIVATIONS))
    return _ACTIVATIONS[name]


def inner_width(width: int) -> int:
    """Gated width of a block: ceil(max(4, 2·width) / 64)·64."""
    return math.ceil(max(4, 2 * width) / 64) * 64


def keep_mask(shape: tuple[int, ...], p: float, device: torch.device) -> Tensor:
    """True with probability 1 − p (to 1/65536), bool `shape`.

    On a CPU four 16-bit draws are cut from each 64-bit one: 2-3 times cheaper than a Bernoulli draw for every element.
    """
    if device.type != "cpu":
        return torch.rand(shape, device=device) >= p
    count = math.prod(shape)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), 2**63 - 1)
    return (bits.view(torch.int16)[:count] >= round(p * 65536) - 32768).view(shape)


class Dropout(nn.Module):
    """Inverted dropout of rate p, with `keep_mask`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape, the same shape back."""
        if not self.training or self.p == 0:
            return x
        return _MaskedScale.apply(x, keep_mask(tuple(x.shape), self.p, x.device), 1 / (1 - self.p))  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _MaskedScale(torch.autograd.Function):
    """x·mask·scale, keeping only the boolean mask for the way back."""

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor, scale: float) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (x * mask).mul_(scale)

    @staticmethod
    def backward(ctx, grad: Tensor):  # noqa: ANN001, ANN205
        (mask,) = ctx.saved_tensors
        return (grad * mask).mul_(ctx.scale), None, None


def drop_path(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop the whole branch of a row (all but the last axis index rows) with probability p, scaling the rest."""
    if not training or p == 0:
        return x
    keep = keep_mask((*x.shape[:-1], 1), p, x.device)
    return x * (keep.to(x.dtype) / (1 - p))


class GatedBlock(nn.Module):
    """x + DropPath(tanh(scale)·dropout(fc2(dropout(act(u)·v)))), (u, v) = fc1(LN(x)): one V3 block, [*, D] -> [*, D]."""

    def __init__(self, width: int, dropout: float, activation: str, *, scale: float, path_rate: float) -> None:
        super().__init__()
        inner = inner_width(width)
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * inner)
        self.fc2 = nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.dropout, self.residual_dropout = Dropout(dropout), Dropout(RESIDUAL_DROPOUT)
        self.activation, self.path_rate = activation_fn(activation), path_rate

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.fc1(self.norm(x)).chunk(2, dim=-1)
        branch = self.residual_dropout(self.fc2(self.dropout(self.activation(u) * v)))
        return torch.add(x, drop_path(branch * torch.tanh(self.scale), self.path_rate, self.training))


class ResidualMLP(nn.Module):
    """The V3 embedder (seed 2.2): LayerNorm and projection where the width changes, then `layers` gated blocks.

    [*, input_dim] -> [*, hidden_dim]; rows never see each other.
    """

    def __init__(self, input_dim: int, hidden_dim: int, layers: int, dropout: float, activation: str = "SiLU") -> None:
        super().__init__()
        changes = input_dim != hidden_dim
        self.input_norm = nn.LayerNorm(input_dim) if changes else None
        self.project = nn.Linear(input_dim, hidden_dim) if changes else None
        rates = torch.linspace(0, DROP_PATH, layers).tolist()
        self.blocks = nn.ModuleList(
            GatedBlock(hidden_dim, dropout, activation, scale=0.1 if i >= layers - 2 else 0.01, path_rate=rates[i])
            for i in range(layers)
        )
        nn.init.zeros_(self.blocks[-1].fc2.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.blocks[-1].fc2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        if self.project is not None and self.input_norm is not None:
            x = self.project(self.input_norm(x))
        return self._through_blocks(x)

    def forward_pair(self, shared: Tensor, own: Tensor) -> Tensor:
        """What `forward` gives for concat(shared for every task, own), computing the shared half once a molecule.

        shared [B, P], own [B, T, P] -> [B, T, D]. With c the concatenation, n its width, γ and β of the LayerNorm:
        W·LN(c) = (W_γ c − μ W_γ 1) / σ + Wβ, W_γ = W·diag(γ); W_γ c, μ and σ² = E[c²] − μ² are sums of the two halves'.
        """
        if self.project is None or self.input_norm is None:
            return self._through_blocks(torch.cat([shared.unsqueeze(1).expand_as(own), own], dim=-1))
        norm, project, half = self.input_norm, self.project, shared.shape[-1]
        weight = project.weight * norm.weight
        mean = (shared.sum(-1, keepdim=True).unsqueeze(1) + own.sum(-1, keepdim=True)) / (2 * half)
        square = (shared.square().sum(-1, keepdim=True).unsqueeze(1) + own.square().sum(-1, keepdim=True)) / (2 * half)
        inv_std = torch.rsqrt((square - mean.square()).clamp_min(0) + norm.eps)
        product = F.linear(shared, weight[:, :half]).unsqueeze(1) + F.linear(own, weight[:, half:])
        bias = F.linear(norm.bias, project.weight, project.bias)
        return self._through_blocks(torch.addcmul(bias, product - mean * weight.sum(1), inv_std))

    def _through_blocks(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class StackedHeads(nn.Module):
    """K residual gated heads of one shape, computed as one batched product a layer (V3 predictor, seed 2.4).

    x [B, K, D], head k reading x[:, k] -> [B, K], or [B, K, out_dim] when `out_dim` > 1.
    """

    def __init__(
        self,
        in_dim: int,
        count: int,
        activation: str,
        num_layers: int,
        dropout: float,
        stochastic_depth: float,
        fc2_gain_non_last: float,
        out_dim: int = 1,
    ) -> None:
        super().__init__()
        inner = inner_width(in_dim)
        self.count, self.out_dim = count, out_dim
        self.norm_weight = nn.Parameter(torch.ones(num_layers + 1, count, 1, in_dim))
        self.norm_bias = nn.Parameter(torch.zeros(num_layers + 1, count, 1, in_dim))
        self.fc1_weight = nn.ParameterList(_linear(count, in_dim, 2 * inner) for _ in range(num_layers))
        self.fc1_bias = nn.Parameter(torch.zeros(num_layers, count, 1, 2 * inner))
        gains = [fc2_gain_non_last] * (num_layers - 1) + [0.0]
        self.fc2_weight = nn.ParameterList(_linear(count, inner, in_dim, gain) for gain in gains)
        self.fc2_bias = nn.Parameter(torch.zeros(num_layers, count, 1, in_dim))
        self.scale = nn.Parameter(torch.full((num_layers, count, 1, 1), 0.1))
        self.out_weight = _linear(count, in_dim, out_dim, gain=0.01)
        self.out_bias = nn.Parameter(torch.zeros(count, 1, out_dim))
        self.dropout, self.residual_dropout = Dropout(dropout), Dropout(RESIDUAL_DROPOUT)
        self.activation = activation_fn(activation)
        self.path_rates = torch.linspace(0, stochastic_depth, num_layers).tolist()

    def _norm(self, x: Tensor, i: int) -> Tensor:
        return torch.addcmul(self.norm_bias[i], F.layer_norm(x, x.shape[-1:]), self.norm_weight[i])

    def forward(self, x: Tensor) -> Tensor:
        x = self._norm(x.transpose(0, 1), 0)  # [K, B, D]
        for i, (fc1, fc2) in enumerate(zip(self.fc1_weight, self.fc2_weight, strict=True)):
            u, v = torch.baddbmm(self.fc1_bias[i], self._norm(x, i + 1), fc1).chunk(2, dim=-1)
            branch = torch.baddbmm(self.fc2_bias[i], self.dropout(self.activation(u) * v), fc2)
            branch = self.residual_dropout(branch) * torch.tanh(self.scale[i])
            x = x + drop_path(branch, self.path_rates[i], self.training)
        out = torch.baddbmm(self.out_bias, x, self.out_weight).transpose(0, 1)  # [B, K, out]
        return out.squeeze(-1) if self.out_dim == 1 else out


def _linear(count: int, fan_in: int, fan_out: int, gain: float | None = None) -> nn.Parameter:
    """`count` Linear weights [count, fan_in, fan_out]: torch's default initialisation, or Xavier uniform with `gain`."""
    bound = 1 / math.sqrt(fan_in) if gain is None else gain * math.sqrt(6 / (fan_in + fan_out))
    return nn.Parameter(
        torch.empty(count, fan_in, fan_out).uniform_(-bound, bound) if bound else torch.zeros(count, fan_in, fan_out)
    )
