"""Residual gated MLPs: the V3 embedder block, the stack of heads, and the noise that trains them."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from milbench.errors import ConfigError
from milbench.models.stacking import over_models, stacked

RESIDUAL_DROPOUT = 0.05
DROP_PATH = 0.05
_WORTH_A_GENERATOR = 16_384  # elements from which seeding one pays
_ONEDNN = torch.backends.mkldnn.is_available()


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

    Large CPU masks cut four 16-bit numbers from each 64-bit one of a generator that torch's own seeds: ten times cheaper than a
    Bernoulli draw for every element.
    """
    count = math.prod(shape)
    if device.type != "cpu" or count < _WORTH_A_GENERATOR or stacked():
        return (torch.rand(shape, device=device) >= p).to(torch.int8)
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
        if not self.training or self.p == 0:
            return x
        return x * keep_mask(tuple(x.shape), self.p, x.device) / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Noise(NamedTuple):
    """One draw of `BlockNoise`: int8 masks (None: ones) of a block's gated units and of its branch, the gains of what stays."""

    inside: Tensor | None = None
    outside: Tensor | None = None
    inside_gain: float = 1.0
    outside_gain: float = 1.0


class BlockNoise(nn.Module):
    """Dropout of the gated units, dropout of the branch, and DropPath, which drops the whole branch of a row."""

    def __init__(self, dropout: float, path_rate: float) -> None:
        super().__init__()
        self.dropout, self.path_rate = dropout, path_rate

    def forward(self, x: Tensor, inner: int) -> Noise:
        """The noise for x [*, D], whose rows have `inner` gated units; none in evaluation."""
        if not self.training:
            return Noise()
        rows = tuple(x.shape[:-1])
        outside = keep_mask(tuple(x.shape), RESIDUAL_DROPOUT, x.device)
        if self.path_rate:
            outside.mul_(keep_mask((*rows, 1), self.path_rate, x.device))
        inside = keep_mask((*rows, inner), self.dropout, x.device) if self.dropout else None
        return Noise(inside, outside, 1 / (1 - self.dropout), 1 / ((1 - RESIDUAL_DROPOUT) * (1 - self.path_rate)))

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}, path_rate={self.path_rate}"


class GatedWeights(NamedTuple):
    """Weights of one block, w1 [D, 2·I], b1 [2·I], w2 [I, D], b2 [D], scale [], or of K: [K, D, 2·I], [K, 1, 2·I], …"""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    scale: Tensor


def gated_residual(x: Tensor, normed: Tensor, weights: GatedWeights, noise: Noise, activation: Activation) -> Tensor:
    """x + tanh(scale)·drop(drop(act(u)·v) W2 + b2), [u | v] = normed W1 + b1: x, normed [n, D] or [K, n, D] -> the same."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        normed, weights = normed.to(dtype), GatedWeights(*(w.to(dtype) for w in weights))
    if stacked():
        return over_models(_gated_residuals, x, normed, *noise, activation, *weights)
    return _GatedResidual.apply(x, normed, noise, activation, *weights)  # type: ignore[no-any-return]


def _gated_residuals(x: Tensor, normed: Tensor, *rest: Any) -> Tensor:
    """Of K models: blocks [K, n, D] with weights [K, ...] are already those of K heads; K·H heads [K, H, n, D] become so."""
    (inside, outside, *gains, activation), weights = rest[:5], rest[5:]
    if x.dim() == 3:
        weights = [w[:, None] if w.dim() == 2 else w[:, None, None] if w.dim() == 1 else w for w in weights]
        return gated_residual(x, normed, GatedWeights(*weights), Noise(inside, outside, *gains), activation)

    def flat(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.flatten(0, 1)

    heads = GatedWeights(*(w.flatten(0, 1) for w in weights))
    noise = Noise(flat(inside), flat(outside), *gains)
    return gated_residual(x.flatten(0, 1), normed.flatten(0, 1), heads, noise, activation).unflatten(0, x.shape[:2])


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W + b, of one product [n, i] [i, o] or of K: float32 rows on a CPU by oneDNN, which uses all of AVX-512.

    MKL, torch's own choice there, does so on Intel's processors alone; elsewhere oneDNN is 5 to 15 % faster.
    """
    if _ONEDNN and x.dim() == 2 and x.dtype == torch.float32 and x.device.type == "cpu" and len(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight.T, bias, "none", [], "")  # type: ignore[no-any-return]
    if bias is None:
        return x @ weight
    return torch.addmm(bias, x, weight) if x.dim() == 2 else torch.baddbmm(bias, x, weight)


def _weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """xᵀ·grad in the memory layout of `weight`: a gradient in another one is slow to accumulate."""
    return x.mT @ grad if weight.is_contiguous() else (grad.mT @ x).mT


class _GatedResidual(torch.autograd.Function):
    """`gated_residual` in few passes over the activations: tanh(scale) and the gains multiply W2 and b2, which are smaller.

    With masks m and M, a = act(u)·m, v' = v·m, c = tanh(scale)·outside_gain, W = c·inside_gain·W2: out = x + M·(h W + c·b2)
    with h = a·v' = act(u)·v·m, since m² = m. Backward, from g: G = g·M; dh = G Wᵀ; dv = dh·a and du = dh·v'·act'(u), masked by
    what they are made of; normed, W1 and b1 as for any linear map; dW = hᵀG; dc = inside_gain·⟨dW, W2⟩ + ⟨ΣG, b2⟩. Kept are
    normed, [u | v'], a, M and W.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, normed: Tensor, noise: Noise, activation: Activation, *weights: Tensor) -> Tensor:
        w1, b1, w2, b2, scale = weights
        y = _product(normed, w1, b1)
        u, v = y.chunk(2, dim=-1)
        a = activation.forward(u)
        if noise.inside is not None:
            mask = noise.inside.to(y.dtype)
            a.mul_(mask)
            v.mul_(mask)
        c = torch.tanh(scale) * noise.outside_gain
        w = w2 * (c * noise.inside_gain)
        branch = _product(a * v, w, b2 * c)
        ctx.save_for_backward(normed, y, a, noise.outside, w1, b1, w2, b2, w, c)
        ctx.gains, ctx.activation = (noise.inside_gain, noise.outside_gain), activation
        return x + branch if noise.outside is None else torch.addcmul(x, branch, noise.outside)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        normed, y, a, outside, w1, b1, w2, b2, w, c = ctx.saved_tensors
        inside_gain, outside_gain = ctx.gains
        g = grad.to(y.dtype) if outside is None else grad.to(y.dtype) * outside
        (u, v), d_y = y.chunk(2, dim=-1), torch.empty_like(y)
        d_u, d_v = d_y.chunk(2, dim=-1)
        d_h = _product(g, w.mT)
        torch.mul(d_h, a, out=d_v)
        ctx.activation.backward(d_h.mul_(v), u, *ctx.activation.options, grad_input=d_u)
        d_w, d_b = _weight_gradient(torch.mul(a, v, out=d_h), g, w2), g.sum(-2).view(b2.shape)
        d_c = (d_w * w2).sum((-2, -1)).view(c.shape) * inside_gain + (d_b * b2).sum(-1).view(c.shape)
        d_scale = d_c * (outside_gain - c * c / outside_gain)
        d_normed = _product(d_y, w1.mT) if ctx.needs_input_grad[1] else None
        d_w1, d_b1 = _weight_gradient(normed, d_y, w1), d_y.sum(-2).view(b1.shape)
        return grad, d_normed, None, None, d_w1, d_b1, d_w.mul_(c * inside_gain), d_b.mul_(c), d_scale


def folded(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """W [out, in] and b [out] with linear(norm(x)) = x̂ Wᵀ + b, x̂ the standardised x: the weight times γ, and bias + weight β.

    γ and β get their gradients from the weight's, which spares passes over x; and where x needs no gradient, x̂ needs none
    either, and one of the largest products of the way back is spared.
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
        self.noise, self.activation = BlockNoise(dropout, path_rate), activation_fn(activation)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            return self(x.flatten(0, -2)).view(x.shape)
        normed, (w1, b1) = F.layer_norm(x, x.shape[-1:], eps=self.norm.eps), folded(self.norm, self.fc1)
        weights = GatedWeights(w1.T, b1, self.fc2.weight.T, self.fc2.bias, self.scale)
        return gated_residual(x, normed, weights, self.noise(x, self.fc2.in_features), self.activation)


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
        rows = x.flatten(0, -2)
        for block in self.blocks:
            rows = block(rows)
        return rows.view(x.shape)


class StackedHeads(nn.Module):
    """K residual gated heads of one shape, computed as one batched product a layer (V3 predictor, seed 2.4).

    x [B, K, D], head k reading x[:, k] -> [B, K], or [B, K, out_dim] when `out_dim` > 1. With x [B, k, D], k < K, the first k
    heads alone are computed.
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
        self.count, self.out_dim, self.inner = count, out_dim, inner_width(in_dim)
        self.norm_weight = nn.Parameter(torch.ones(num_layers + 1, count, 1, in_dim))
        self.norm_bias = nn.Parameter(torch.zeros(num_layers + 1, count, 1, in_dim))
        self.fc1_weight = nn.ParameterList(_linear(count, in_dim, 2 * self.inner) for _ in range(num_layers))
        self.fc1_bias = nn.Parameter(torch.zeros(num_layers, count, 1, 2 * self.inner))
        gains = [fc2_gain_non_last] * (num_layers - 1) + [0.0]
        self.fc2_weight = nn.ParameterList(_linear(count, self.inner, in_dim, gain) for gain in gains)
        self.fc2_bias = nn.Parameter(torch.zeros(num_layers, count, 1, in_dim))
        self.scale = nn.Parameter(torch.full((num_layers, count, 1, 1), 0.1))
        self.out_weight = _linear(count, in_dim, out_dim, gain=0.01)
        self.out_bias = nn.Parameter(torch.zeros(count, 1, out_dim))
        self.activation = activation_fn(activation)
        self.noise = nn.ModuleList(
            BlockNoise(dropout, rate) for rate in torch.linspace(0, stochastic_depth, num_layers).tolist()
        )

    def _norm(self, x: Tensor, i: int) -> Tensor:
        k = len(x)
        return torch.addcmul(self.norm_bias[i, :k], F.layer_norm(x, x.shape[-1:]), self.norm_weight[i, :k])

    def forward(self, x: Tensor) -> Tensor:
        x = self._norm(x.transpose(0, 1), 0)  # [K, B, D]
        for i, noise in enumerate(self.noise):
            x = gated_residual(x, self._norm(x, i + 1), self._weights(i, len(x)), noise(x, self.inner), self.activation)
        out = torch.baddbmm(self.out_bias[: len(x)], x, self.out_weight[: len(x)]).transpose(0, 1)  # [B, K, out]
        return out.squeeze(-1) if self.out_dim == 1 else out

    def _weights(self, i: int, k: int) -> GatedWeights:
        stacked = self.fc1_weight[i], self.fc1_bias[i], self.fc2_weight[i], self.fc2_bias[i], self.scale[i]
        return GatedWeights(*stacked) if k == self.count else GatedWeights(*(weight[:k] for weight in stacked))


def _linear(count: int, fan_in: int, fan_out: int, gain: float | None = None) -> nn.Parameter:
    """`count` Linear weights [count, fan_in, fan_out]: torch's default initialisation, or Xavier uniform with `gain`."""
    bound = 1 / math.sqrt(fan_in) if gain is None else gain * math.sqrt(6 / (fan_in + fan_out))
    return nn.Parameter(
        torch.empty(count, fan_in, fan_out).uniform_(-bound, bound) if bound else torch.zeros(count, fan_in, fan_out)
    )
