"""Residual gated MLPs: the V3 embedder block, the stack of heads, and the noise that trains them (spec section 3)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from milbench.errors import ConfigError

RESIDUAL_DROPOUT = 0.05
DROP_PATH = 0.05


class Activation(NamedTuple):
    """An activation and its way back: `backward(grad, x, *options, grad_input=out)` writes grad·act'(x) into `out`."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[..., Tensor]
    options: tuple[Any, ...] = ()


def _mish_backward(grad: Tensor, x: Tensor, *, grad_input: Tensor) -> Tensor:
    return grad_input.copy_(torch.ops.aten.mish_backward(grad, x))  # torch has no variant that writes in place


_ACTIVATIONS = {
    "GELU": Activation(F.gelu, torch.ops.aten.gelu_backward),
    "SiLU": Activation(F.silu, torch.ops.aten.silu_backward),
    "Mish": Activation(F.mish, _mish_backward),
    "ReLU": Activation(F.relu, torch.ops.aten.threshold_backward, (0,)),
    "LeakyReLU": Activation(F.leaky_relu, torch.ops.aten.leaky_relu_backward, (0.01, False)),
}


def activation_fn(name: str) -> Activation:
    """The activation by its torch.nn name."""
    if name not in _ACTIVATIONS:
        raise ConfigError("activation", got=name, want=", ".join(_ACTIVATIONS))
    return _ACTIVATIONS[name]


def inner_width(width: int) -> int:
    """Gated width of a block: ceil(max(4, 2·width) / 64)·64."""
    return math.ceil(max(4, 2 * width) / 64) * 64


def keep_mask(shape: tuple[int, ...], p: float, device: torch.device) -> Tensor:
    """1 with probability 1 − p (to 1/65536), otherwise 0: int8 `shape`, which torch multiplies faster than bool.

    On a CPU four 16-bit numbers are cut from each 64-bit one of a generator that torch's own seeds: ten times cheaper than a
    Bernoulli draw for every element.
    """
    if device.type != "cpu":
        return (torch.rand(shape, device=device) >= p).to(torch.int8)
    count = math.prod(shape)
    words = np.random.SFC64(int(torch.empty((), dtype=torch.int64).random_())).random_raw((count + 3) // 4)
    bits = torch.from_numpy(words.view(np.int16)[:count]).view(shape)
    return torch.ge(bits, round(p * 65536) - 32768, out=torch.empty(shape, dtype=torch.int8))


class Dropout(nn.Module):
    """Inverted dropout of rate p, with `keep_mask`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape, the same shape back."""
        mask = self.mask(tuple(x.shape), x.device)
        return x if mask is None else x * mask / self.keep

    def mask(self, shape: tuple[int, ...], device: torch.device) -> Tensor | None:
        """Which elements stay, int8 `shape`; None for all."""
        return keep_mask(shape, self.p, device) if self.training and self.p else None

    @property
    def keep(self) -> float:
        """The probability of an element to stay; what stays is divided by it."""
        return 1 - self.p if self.training else 1.0

    def extra_repr(self) -> str:
        return f"p={self.p}"


class ResidualNoise(nn.Module):
    """The noise on a branch before it is added: dropout, and DropPath, which drops whole rows (all axes but the last index rows)."""

    def __init__(self, path_rate: float) -> None:
        super().__init__()
        self.dropout, self.path = Dropout(RESIDUAL_DROPOUT), Dropout(path_rate)

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """x + mask·branch, [*, D]; multiplying by `scale` is left to whoever makes the branch."""
        keep = self.dropout.mask(tuple(x.shape), x.device)
        rows = self.path.mask((*x.shape[:-1], 1), x.device)
        if keep is None:
            return x + branch
        return torch.addcmul(x, branch, keep if rows is None else keep.mul_(rows))

    @property
    def scale(self) -> float:
        """What a branch that stays is multiplied by."""
        return 1 / (self.dropout.keep * self.path.keep)


class GatedWeights(NamedTuple):
    """Weights of K gated MLPs: w1 [K, D, 2·I], b1 [K, 1, 2·I], w2 [K, I, D], b2 [K, 1, D]; their output is times scale [K, 1, 1]."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    scale: Tensor


def gated_mlp(x: Tensor, mask: Tensor | None, weights: GatedWeights, keep: float, activation: Activation) -> Tensor:
    """scale·(h W2 / keep + b2) with h = act(u)·v·mask, [u | v] = x W1 + b1: x [K, n, D] -> [K, n, D].

    `mask` int8 [K, n, I] (None: ones) is dropout's inside the block, `keep` its 1 − p.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weights = x.to(dtype), GatedWeights(*(w.to(dtype) for w in weights))
    return _GatedMLP.apply(x, mask, activation, keep, *weights)  # type: ignore[no-any-return]


class _GatedMLP(torch.autograd.Function):
    """`gated_mlp` with the scales multiplied into W = W2·scale/keep, smaller than the activations they would pass over.

    With a = act(u)·mask, h = a·v and g the gradient of the output: dh = g Wᵀ, dv = dh·a, du = dh·mask·v·act'(u), from which those of
    x, W1 and b1 follow as for any linear map; dW = hᵀg, d scale = ⟨dW, W2⟩ / keep + ⟨Σg, b2⟩. Kept are x, [u | v], a and the mask.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor | None, activation: Activation, keep: float, *weights: Tensor) -> Tensor:
        w1, b1, w2, b2, scale = weights
        y = torch.baddbmm(b1, x, w1)
        u, v = y.chunk(2, dim=-1)
        a = activation.forward(u)
        if mask is not None:
            a.mul_(mask)
        ctx.save_for_backward(x, mask, y, a, w1, w2, b2, scale)
        ctx.activation, ctx.keep = activation, keep
        return torch.baddbmm(b2 * scale, a * v, w2 * (scale / keep))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mask, y, a, w1, w2, b2, scale = ctx.saved_tensors
        (u, v), d_y, factor = y.chunk(2, dim=-1), torch.empty_like(y), scale / ctx.keep
        d_u, d_v = d_y.chunk(2, dim=-1)
        d_h = torch.bmm(grad, (w2 * factor).transpose(1, 2))
        torch.mul(d_h, a, out=d_v)
        if mask is not None:
            d_h.mul_(mask)
        ctx.activation.backward(d_h.mul_(v), u, *ctx.activation.options, grad_input=d_u)
        d_w, d_b2 = torch.bmm((a * v).transpose(1, 2), grad), grad.sum(1, keepdim=True)
        d_scale = (d_w * w2).sum((1, 2), keepdim=True).div_(ctx.keep) + (d_b2 * b2).sum(2, keepdim=True)
        d_x = torch.bmm(d_y, w1.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        d_w1, d_b1 = torch.bmm(x.transpose(1, 2), d_y), d_y.sum(1, keepdim=True)
        return d_x, None, None, None, d_w1, d_b1, d_w.mul_(factor), d_b2.mul_(scale), d_scale


def folded(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """W [out, in] and b [out] with linear(norm(x)) = x̂ Wᵀ + b, x̂ the standardised x: the weight times γ, and bias + weight β.

    Where x needs no gradient, x̂ needs none either, and one of the largest products of the way back is spared.
    """
    return linear.weight * norm.weight, F.linear(norm.bias, linear.weight, linear.bias)


class GatedBlock(nn.Module):
    """x + DropPath(tanh(scale)·dropout(fc2(dropout(act(u)·v)))), (u, v) = fc1(LN(x)): one V3 block, [*, D] -> [*, D]."""

    def __init__(self, width: int, dropout: float, activation: str, *, scale: float, path_rate: float) -> None:
        super().__init__()
        inner = inner_width(width)
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * inner)
        self.fc2 = nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.dropout, self.noise = Dropout(dropout), ResidualNoise(path_rate)
        self.activation = activation_fn(activation)

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            normed, w1, b1 = self.norm(x), self.fc1.weight, self.fc1.bias
        else:
            normed, (w1, b1) = F.layer_norm(x, x.shape[-1:], eps=self.norm.eps), folded(self.norm, self.fc1)
        scale = torch.tanh(self.scale) * self.noise.scale
        weights = GatedWeights(
            w1.T[None], b1[None, None], self.fc2.weight.T[None], self.fc2.bias[None, None], scale.view(1, 1, 1)
        )
        rows = normed.reshape(1, -1, x.shape[-1])
        mask = self.dropout.mask((*rows.shape[:2], self.fc2.in_features), x.device)
        branch = gated_mlp(rows, mask, weights, self.dropout.keep, self.activation)
        return self.noise.add(x, branch.view(x.shape))


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
        return self._through_blocks(self._projected(x))

    def _projected(self, x: Tensor) -> Tensor:
        if self.project is None or self.input_norm is None:
            return x
        return F.linear(F.layer_norm(x, x.shape[-1:], eps=self.input_norm.eps), *folded(self.input_norm, self.project))

    def forward_pair(self, shared: Tensor, own: Tensor) -> Tensor:
        """What `forward` gives for concat(shared for every task, own), computing the shared half once a molecule.

        shared [B, P], own [B, T, P] -> [B, T, D]. With c the concatenation, n its width, γ and β of the LayerNorm:
        W·LN(c) = (W_γ c − μ W_γ 1) / σ + Wβ, W_γ = W·diag(γ); W_γ c, μ and σ² = E[c²] − μ² are sums of the two halves'.
        """
        if self.project is None or self.input_norm is None:
            return self._through_blocks(torch.cat([shared.unsqueeze(1).expand_as(own), own], dim=-1))
        norm, project, half = self.input_norm, self.project, shared.shape[-1]
        weight, bias = folded(norm, project)
        mean = (shared.sum(-1, keepdim=True).unsqueeze(1) + own.sum(-1, keepdim=True)) / (2 * half)
        square = (shared.square().sum(-1, keepdim=True).unsqueeze(1) + own.square().sum(-1, keepdim=True)) / (2 * half)
        inv_std = torch.rsqrt((square - mean.square()).clamp_min(0) + norm.eps)
        product = F.linear(shared, weight[:, :half]).unsqueeze(1) + F.linear(own, weight[:, half:])
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
        self.dropout, self.activation = Dropout(dropout), activation_fn(activation)
        self.noise = nn.ModuleList(ResidualNoise(rate) for rate in torch.linspace(0, stochastic_depth, num_layers).tolist())

    def _norm(self, x: Tensor, i: int) -> Tensor:
        return torch.addcmul(self.norm_bias[i], F.layer_norm(x, x.shape[-1:]), self.norm_weight[i])

    def forward(self, x: Tensor) -> Tensor:
        x = self._norm(x.transpose(0, 1), 0)  # [K, B, D]
        for i, noise in enumerate(self.noise):
            x = noise.add(x, self._branch(x, i, noise.scale))
        out = torch.baddbmm(self.out_bias, x, self.out_weight).transpose(0, 1)  # [B, K, out]
        return out.squeeze(-1) if self.out_dim == 1 else out

    def _branch(self, x: Tensor, i: int, scale: float) -> Tensor:
        """The i-th block's branch for x [K, B, D], times `scale`."""
        weights = GatedWeights(
            self.fc1_weight[i], self.fc1_bias[i], self.fc2_weight[i], self.fc2_bias[i], torch.tanh(self.scale[i]) * scale
        )
        mask = self.dropout.mask((*x.shape[:2], weights.w2.shape[1]), x.device)
        return gated_mlp(self._norm(x, i + 1), mask, weights, self.dropout.keep, self.activation)


def _linear(count: int, fan_in: int, fan_out: int, gain: float | None = None) -> nn.Parameter:
    """`count` Linear weights [count, fan_in, fan_out]: torch's default initialisation, or Xavier uniform with `gain`."""
    bound = 1 / math.sqrt(fan_in) if gain is None else gain * math.sqrt(6 / (fan_in + fan_out))
    return nn.Parameter(
        torch.empty(count, fan_in, fan_out).uniform_(-bound, bound) if bound else torch.zeros(count, fan_in, fan_out)
    )
