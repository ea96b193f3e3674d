"""The V3 blocks and the stacked heads: every fact of seed section 2.2."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from builders import stir
from milbench.configs import ACTIVATIONS
from milbench.errors import ConfigError
from milbench.models.layers import GatedBlock, ResidualMLP, StackedHeads, inner_width

PLAIN = {"GELU": F.gelu, "SiLU": F.silu, "Mish": F.mish, "ReLU": F.relu, "LeakyReLU": F.leaky_relu}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_block(width: int = 8, activation: str = "SiLU", **kwargs: float) -> GatedBlock:
    torch.manual_seed(0)
    block = GatedBlock(width, kwargs.get("dropout", 0.0), activation, scale=0.3, path_rate=kwargs.get("path_rate", 0.0))
    stir(block)
    return block.double().eval()


def make_heads(count: int = 3, *, layers: int = 2, activation: str = "SiLU", **kwargs: float) -> StackedHeads:
    torch.manual_seed(0)
    dropout, depth, gain = kwargs.get("dropout", 0.0), kwargs.get("depth", 0.0), kwargs.get("gain", 1e-2)
    return StackedHeads(8, count, activation, layers, dropout, depth, gain, int(kwargs.get("out_dim", 1))).double().eval()


@pytest.mark.parametrize(("width", "inner"), [(1, 64), (8, 64), (32, 64), (33, 128), (96, 192), (128, 256), (256, 512)])
def test_the_gated_width_is_twice_the_width_rounded_up_to_64(width: int, inner: int) -> None:
    assert inner_width(width) == inner
    block = make_block(width)
    assert block.fc1.out_features == 2 * inner
    assert block.fc2.in_features == inner


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_block_and_its_gradient_are_the_plain_formula(activation: str) -> None:
    block = make_block(activation=activation)
    x = randn(5, 8)

    def plain(x: Tensor) -> Tensor:
        u, v = block.fc1(block.norm(x)).chunk(2, dim=-1)
        return x + torch.tanh(block.scale) * block.fc2(PLAIN[activation](u) * v)

    results = []
    for forward in (block, plain):
        leaf = x.clone().requires_grad_()
        block.zero_grad()
        out = forward(leaf)
        (out * randn(5, 8, seed=1)).sum().backward()
        results.append([out.detach(), leaf.grad, *(p.grad.clone() for p in block.parameters())])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("make", [make_block, make_heads])
def test_every_activation_is_really_used(make) -> None:
    x = randn(5, 3, 8)
    outputs = []
    for name in ACTIVATIONS:
        module = make(activation=name)
        stir(module)
        outputs.append(module(x).detach())
    for i, first in enumerate(outputs):
        for second in outputs[i + 1 :]:
            assert (first - second).abs().max() > 1e-4


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ConfigError, match="activation: got 'Swish', want GELU, SiLU"):
        make_block(activation="Swish")


def test_scales_start_at_a_tenth_in_the_last_two_blocks_and_a_hundredth_before() -> None:
    for layers in (1, 2, 3, 5):
        scales = [block.scale.item() for block in ResidualMLP(8, 8, layers, 0.1).blocks]
        assert scales == pytest.approx([0.01] * (layers - 2) + [0.1] * min(layers, 2))


def test_only_the_last_block_starts_with_a_zero_second_linear() -> None:
    blocks = ResidualMLP(8, 8, 4, 0.1).blocks
    assert [bool(block.fc2.weight.any()) for block in blocks] == [True, True, True, False]
    assert not blocks[-1].fc2.bias.any()


def test_an_embedder_starts_near_the_identity() -> None:
    x = randn(50, 16).float()
    assert torch.equal(ResidualMLP(16, 16, 1, 0.2).eval()(x), x)
    deep = ResidualMLP(16, 16, 5, 0.2).eval()
    assert 0 < (deep(x) - x).std() < 0.05


def test_the_input_is_normalised_and_projected_only_where_the_width_changes() -> None:
    same, other = ResidualMLP(8, 8, 2, 0.1), ResidualMLP(6, 8, 1, 0.1).eval()
    assert same.project is None
    assert same.input_norm is None
    x = randn(5, 6).float()
    torch.testing.assert_close(other(x), other.project(F.layer_norm(x, (6,))))
    torch.testing.assert_close(other(x), other(3 * x + 7), atol=1e-4, rtol=1e-4)


def _unchanged_rows(module: torch.nn.Module, x: Tensor, base: Tensor) -> float:
    with torch.no_grad():
        return (module.train()(x) == base).flatten(1).all(1).double().mean().item()


def test_the_rate_of_droppath_rises_linearly_from_0_to_0_05() -> None:
    mlp = ResidualMLP(16, 16, 3, 0.0)
    stir(mlp)
    x = randn(20_000, 16).float()
    shares = [_unchanged_rows(block, x, x) for block in mlp.blocks]
    assert shares == pytest.approx([0, 0.025, 0.05], abs=0.006)
    assert shares[0] == 0


def test_residual_dropout_spares_19_of_20_elements_and_keeps_the_mean() -> None:
    block = make_block(path_rate=0.0)
    x = randn(1, 8).expand(40_000, -1)
    with torch.no_grad():
        calm, noisy = block(x)[0], block.train()(x)
    dropped = (noisy == x).double().mean(0)
    torch.testing.assert_close(dropped, torch.full_like(dropped, 0.05), atol=0.005, rtol=0)
    torch.testing.assert_close(noisy.mean(0), calm, atol=0.02, rtol=0.02)


def test_dropout_and_droppath_together_keep_the_mean_of_a_branch() -> None:
    block = make_block(dropout=0.25, path_rate=0.2)
    x = randn(1, 8).expand(60_000, -1)
    with torch.no_grad():
        calm, noisy = block(x)[0] - x[0], (block.train()(x) - x).mean(0)
    torch.testing.assert_close(noisy, calm, atol=0.03 * float(calm.abs().max()), rtol=0.03)


def test_evaluation_is_without_noise() -> None:
    mlp = ResidualMLP(8, 8, 3, 0.5)
    stir(mlp)
    x = randn(5, 8).float()
    assert torch.equal(mlp.eval()(x), mlp(x))
    assert not torch.equal(mlp.train()(x), mlp(x))


@pytest.mark.parametrize(("half", "width"), [(4, 8), (6, 8), (16, 8)])
def test_forward_pair_is_forward_of_the_concatenation(half: int, width: int) -> None:
    mlp = ResidualMLP(2 * half, width, 2, 0.1)
    stir(mlp)
    mlp = mlp.double().eval()
    shared, own = randn(5, half), 3 * randn(5, 4, half, seed=1) + 2
    results = []
    for pair in (True, False):
        leaves = [shared.clone().requires_grad_(), own.clone().requires_grad_()]
        mlp.zero_grad()
        if pair:
            out = mlp.forward_pair(*leaves)
        else:
            out = mlp(torch.cat([leaves[0].unsqueeze(1).expand(-1, 4, -1), leaves[1]], dim=-1))
        (out * randn(5, 4, width, seed=2)).sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves), *(p.grad.clone() for p in mlp.parameters())])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-11, rtol=1e-11)


def _only_head(heads: StackedHeads, k: int, **kwargs: float) -> StackedHeads:
    """A stack of one: head k of `heads`."""
    one = make_heads(1, **kwargs)
    theirs = dict(heads.named_parameters())
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            source = theirs[name]
            axis = next((d for d in range(source.dim()) if source.shape[d] != parameter.shape[d]), None)
            parameter.copy_(source if axis is None else source.select(axis, k).unsqueeze(axis))
    return one


@pytest.mark.parametrize("out_dim", [1, 5])
def test_stacked_heads_are_one_head_at_a_time(out_dim: int) -> None:
    heads = make_heads(3, out_dim=out_dim)
    stir(heads)
    x = randn(6, 3, 8)
    out = heads(x)
    assert out.shape == ((6, 3) if out_dim == 1 else (6, 3, out_dim))
    for k in range(3):
        torch.testing.assert_close(_only_head(heads, k, out_dim=out_dim)(x[:, [k]])[:, 0], out[:, k], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_head_is_normalised_input_gated_blocks_and_a_linear_output(activation: str) -> None:
    heads = make_heads(1, layers=2, activation=activation)
    stir(heads)
    x = randn(6, 1, 8)

    def norm(h: Tensor, i: int) -> Tensor:
        return F.layer_norm(h, (8,)) * heads.norm_weight[i, 0, 0] + heads.norm_bias[i, 0, 0]

    h = norm(x[:, 0], 0)
    for i in range(2):
        u, v = (norm(h, i + 1) @ heads.fc1_weight[i][0] + heads.fc1_bias[i, 0, 0]).chunk(2, dim=-1)
        branch = (PLAIN[activation](u) * v) @ heads.fc2_weight[i][0] + heads.fc2_bias[i, 0, 0]
        h = h + torch.tanh(heads.scale[i, 0, 0]) * branch
    expected = h @ heads.out_weight[0] + heads.out_bias[0]
    torch.testing.assert_close(heads(x), expected, atol=1e-12, rtol=1e-12)


def test_heads_start_small_with_scales_of_a_tenth_and_a_zero_last_block() -> None:
    heads, x = make_heads(3, layers=3), randn(40, 3, 8)
    assert heads(x).abs().max() < 0.2
    assert heads(x).std() > 0
    torch.testing.assert_close(heads.scale, torch.full_like(heads.scale, 0.1))
    before = heads(x)
    with torch.no_grad():
        heads.fc1_weight[-1].normal_()
    assert torch.equal(heads(x), before)
    with torch.no_grad():
        heads.fc1_weight[0].normal_()
    assert not torch.equal(heads(x), before)


def test_the_gain_of_the_inner_second_linears_is_what_is_asked_for() -> None:
    spread = [make_heads(3, layers=3, gain=gain).fc2_weight[0].std().item() for gain in (1e-3, 1e-2)]
    assert spread[1] == pytest.approx(10 * spread[0], rel=1e-6)
    xavier = torch.nn.init.xavier_uniform_(torch.empty(64, 8)).std().item()
    assert spread[1] == pytest.approx(1e-2 * xavier, rel=0.1)


def test_droppath_in_the_heads_reaches_the_stochastic_depth_in_the_last_block() -> None:
    heads = make_heads(1, layers=2, depth=0.4)
    stir(heads)
    with torch.no_grad():  # leave the noise of the last block alone
        heads.fc2_weight[0].zero_()
        heads.fc2_bias[0].zero_()
        x = randn(20_000, 1, 8)
        kept = heads.fc2_weight[1].clone(), heads.fc2_bias[1].clone()
        heads.fc2_weight[1].zero_()
        heads.fc2_bias[1].zero_()
        base = heads(x)
        heads.fc2_weight[1].copy_(kept[0])
        heads.fc2_bias[1].copy_(kept[1])
        same = (heads.train()(x) - base).abs() < 1e-12
    assert same.double().mean().item() == pytest.approx(0.4, abs=0.015)
