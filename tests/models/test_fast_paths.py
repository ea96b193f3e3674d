"""Every shortcut of the layers against the plain formula: value, gradient, noise, dtypes and corner cases."""

import dataclasses
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builders import stir
from milbench.configs import ACTIVATIONS
from milbench.models.layers import (
    GatedBlock,
    GatedWeights,
    Noise,
    ResidualMLP,
    StackedHeads,
    activation_fn,
    folded,
    gated_residual,
    keep_mask,
)
from milbench.models.segments import segment_pool

CPU = torch.device("cpu")
D, INNER, ROWS = 4, 3, 5


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def weights_of(*stack: int) -> GatedWeights:
    """Random weights of one block, or of `stack` blocks."""
    unit = (1,) if stack else ()
    shapes = [(D, 2 * INNER), (*unit, 2 * INNER), (INNER, D), (*unit, D), (1, 1) if stack else ()]
    return GatedWeights(*(randn(*stack, *shape, seed=i) for i, shape in enumerate(shapes)))


def noise_of(*rows: int) -> Noise:
    """Masks that drop a third or so, and gains that are not 1."""
    inside, outside = ((randn(*rows, width, seed=7) > -0.5).to(torch.int8) for width in (INNER, D))
    return Noise(inside, outside, 1.25, 1.5)


def plain_residual(x: Tensor, normed: Tensor, weights: GatedWeights, noise: Noise, activation: str) -> Tensor:
    """`gated_residual` as it is written down, with autograd."""
    w1, b1, w2, b2, scale = weights
    u, v = (normed @ w1 + b1).chunk(2, dim=-1)
    hidden = getattr(nn, activation)()(u) * v
    if noise.inside is not None:
        hidden = hidden * noise.inside
    branch = (hidden * noise.inside_gain) @ w2 + b2
    if noise.outside is not None:
        branch = branch * noise.outside
    return x + torch.tanh(scale) * branch * noise.outside_gain


def results(function, *inputs: Tensor) -> list[Tensor]:
    """Value and the gradients of all inputs."""
    out = function(*inputs)
    return [out, *torch.autograd.grad(out, inputs, torch.cos(out.detach()))]


@pytest.mark.parametrize("stack", [(), (2,)], ids=["one block", "stacked blocks"])
@pytest.mark.parametrize("noisy", [False, True], ids=["calm", "noisy"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_fused_block_is_the_plain_formula(activation: str, noisy: bool, stack: tuple[int, ...]) -> None:
    inputs = randn(*stack, ROWS, D, seed=8), randn(*stack, ROWS, D, seed=9), *weights_of(*stack)
    noise, act = noise_of(*stack, ROWS) if noisy else Noise(), activation_fn(activation)
    ours = results(lambda x, n, *w: gated_residual(x, n, GatedWeights(*w), noise, act), *inputs)
    plain = results(lambda x, n, *w: plain_residual(x, n, GatedWeights(*w), noise, activation), *inputs)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("stack", [(), (2,)], ids=["one block", "stacked blocks"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_fused_gradient_is_that_of_finite_differences(activation: str, stack: tuple[int, ...]) -> None:
    inputs = randn(*stack, ROWS, D, seed=8), randn(*stack, ROWS, D, seed=9), *weights_of(*stack)
    noise, act = noise_of(*stack, ROWS), activation_fn(activation)
    assert torch.autograd.gradcheck(lambda x, n, *w: gated_residual(x, n, GatedWeights(*w), noise, act), inputs)


@pytest.mark.parametrize("rows", [1, 5, 257])
def test_the_products_of_float32_are_those_of_float64(rows: int) -> None:
    inputs = randn(rows, D, seed=8), randn(rows, D, seed=9), *weights_of()
    act = activation_fn("SiLU")
    noise = noise_of(rows)
    exact = results(lambda x, n, *w: plain_residual(x, n, GatedWeights(*w), noise, "SiLU"), *inputs)
    ours = results(
        lambda x, n, *w: gated_residual(x, n, GatedWeights(*w), noise, act),
        *(value.detach().float().requires_grad_() for value in inputs),
    )
    *ours, scale = ours
    *exact, exact_scale = exact
    for a, b in zip(ours, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() <= 1e-5 * b.norm()
    x, normed, *weights = (value.detach() for value in inputs)
    each = weights[-1].expand(rows, D).clone().requires_grad_()  # one scale a term of the sum, whose terms cancel each other
    terms = results(lambda one: plain_residual(x, normed, GatedWeights(*weights[:-1], one), noise, "SiLU"), each)[1]
    assert scale.dtype == torch.float32
    torch.testing.assert_close(terms.sum(), exact_scale)
    assert (scale - exact_scale).abs() <= 1e-5 * terms.abs().sum()


def test_a_block_that_is_closed_still_learns_its_scale() -> None:
    weights = weights_of()._replace(scale=torch.zeros((), dtype=torch.float64, requires_grad=True))
    inputs, act = (randn(ROWS, D, seed=8), randn(ROWS, D, seed=9), *weights), activation_fn("SiLU")
    ours = results(lambda x, n, *w: gated_residual(x, n, GatedWeights(*w), Noise(), act), *inputs)[-1]
    plain = results(lambda x, n, *w: plain_residual(x, n, GatedWeights(*w), Noise(), "SiLU"), *inputs)[-1]
    assert ours.abs() > 0.1
    torch.testing.assert_close(ours, plain)


def test_the_fused_block_refuses_a_second_derivative() -> None:
    x = randn(ROWS, D)
    out = gated_residual(x, x, weights_of(), Noise(), activation_fn("SiLU")).square().sum()
    (grad,) = torch.autograd.grad(out, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


@pytest.mark.parametrize(
    "make", [lambda: GatedBlock(8, 0.2, "SiLU", scale=0.3, path_rate=0.1), lambda: ResidualMLP(8, 8, 2, 0.2)]
)
def test_weights_get_the_same_gradient_whether_or_not_the_input_wants_one(make) -> None:
    torch.manual_seed(0)
    module = make().double()
    stir(module)
    gradients = []
    for wanted in (False, True):
        module.zero_grad()
        torch.manual_seed(1)
        module(randn(6, 8).detach().requires_grad_(wanted)).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in module.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_a_norm_folded_into_a_linear_map_is_the_two_in_turn() -> None:
    norm, linear = nn.LayerNorm(6).double(), nn.Linear(6, 3).double()
    stir(norm)
    x = randn(4, 6)
    weight, bias = folded(norm, linear)
    torch.testing.assert_close(F.linear(F.layer_norm(x, (6,), eps=norm.eps), weight, bias), linear(norm(x)))


def test_weight_gradients_lie_in_memory_as_their_weights_do() -> None:
    for module, x in ((GatedBlock(8, 0.1, "SiLU", scale=0.1, path_rate=0.0), randn(5, 8)), (_heads(), randn(5, 3, 8))):
        module.double()(x).sum().backward()
        assert all(parameter.grad.is_contiguous() for parameter in module.parameters())


def _heads(**kwargs: float) -> StackedHeads:
    torch.manual_seed(0)
    return StackedHeads(8, 3, "SiLU", 2, kwargs.get("dropout", 0.2), 0.1, 1e-2)


@pytest.mark.parametrize(
    ("make", "x"), [(lambda: ResidualMLP(6, 8, 2, 0.2), (4, 6)), (_heads, (4, 3, 8))], ids=["mlp", "heads"]
)
def test_no_molecules_give_no_rows_and_zero_gradients(make, x: tuple[int, ...]) -> None:
    module = make()
    out = module(torch.zeros(0, *x[1:], requires_grad=True))
    assert len(out) == 0
    out.sum().backward()
    assert all(not parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("make", "x"), [(lambda: ResidualMLP(6, 8, 2, 0.2), (4, 6)), (_heads, (4, 3, 8))], ids=["mlp", "heads"]
)
def test_autocast_stays_near_float32_in_value_and_gradient(make, x: tuple[int, ...]) -> None:
    module, found = make(), []
    stir(module)
    for on in (False, True):
        module.zero_grad()
        torch.manual_seed(1)  # the same masks
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            out = module(randn(*x).float())
        out.float().square().sum().backward()
        found.append({"out": out.detach().float(), **{name: p.grad for name, p in module.named_parameters()}})
    for name, exact in found[0].items():
        assert exact.dtype == found[1][name].dtype == torch.float32
        slack = 0.2 if name.endswith("scale") else 1e-3  # a scale's gradient is one sum with cancellation
        assert (exact - found[1][name]).norm() <= 0.05 * exact.norm() + slack, name


@pytest.mark.parametrize("count", [100, 1_000_001])
def test_a_mask_keeps_the_share_it_should_and_nothing_but_zeros_and_ones(count: int) -> None:
    torch.manual_seed(0)
    for p in (0.0, 0.05, 0.5, 0.9):
        mask = keep_mask((count,), p, CPU)
        assert mask.dtype == torch.int8
        assert set(mask.unique().tolist()) <= {0, 1}
        assert mask.double().mean().item() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / count) ** 0.5 + 1e-4)


@pytest.mark.parametrize("shape", [(7, 9), (400, 129)])
def test_masks_follow_torch_seed_and_differ_from_call_to_call(shape: tuple[int, int]) -> None:
    def two() -> list[Tensor]:
        torch.manual_seed(3)
        return [keep_mask(shape, 0.5, CPU) for _ in range(2)]

    first, second = two()
    again = two()
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, second)
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]).float())[0, 1]) < 0.3


def test_neighbours_in_a_mask_are_independent() -> None:
    torch.manual_seed(0)
    mask = keep_mask((1_000_000,), 0.5, CPU).float()
    for lag in (1, 2, 3, 4, 8):
        assert abs(torch.corrcoef(torch.stack([mask[lag:], mask[:-lag]]))[0, 1]) < 0.005


def test_the_same_seed_gives_the_same_gradient_bit_for_bit() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        mlp, heads = ResidualMLP(40, 64, 2, 0.2), StackedHeads(64, 3, "SiLU", 2, 0.2, 0.1, 1e-2)
        stir(mlp)
        rows = mlp(torch.randn(600, 40))
        heads(rows.view(200, 3, 64)).square().sum().backward()
        found.append([parameter.grad for parameter in (*mlp.parameters(), *heads.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("k", [1, 2])
def test_the_first_heads_alone_give_what_they_give_among_all(k: int) -> None:
    heads = _heads().eval()
    stir(heads)
    x = randn(6, 3, 8).float()
    torch.testing.assert_close(heads(x[:, :k]), heads(x)[:, :k], atol=1e-6, rtol=1e-6)


def plain_pool(alpha: Tensor, values: Tensor, offsets: list[int]) -> Tensor:
    """One molecule at a time."""
    return torch.stack([alpha[low:high].T @ values[low:high] for low, high in pairwise(offsets)])


@pytest.mark.parametrize("sizes", [(3, 1, 0, 6, 2), (0, 2), (2, 0), (0, 0), (1,)], ids=str)
def test_pooling_is_the_weighted_sum_of_each_molecule(sizes: tuple[int, ...]) -> None:
    offsets = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    segment = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    alpha, values = randn(sum(sizes), 3), randn(sum(sizes), D, seed=1)
    ours = results(lambda a, v: segment_pool(a, v, segment, len(sizes)), alpha, values)
    for a, b in zip(ours, results(lambda a, v: plain_pool(a, v, offsets), alpha, values), strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=1e-13)
    if sum(sizes):
        assert torch.autograd.gradcheck(lambda a, v: segment_pool(a, v, segment, len(sizes)), (alpha, values))


def test_the_padded_reference_of_the_benchmark_gives_the_same_numbers_and_gradients(monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    for name in ("padded_reference", "step", "synthetic", "report"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import padded_reference
    import step

    from milbench.data.cv import MILCVData
    from milbench.models import MILModelBuilder

    bags = step.synthetic_bags(300)
    config = step.config_of(64, 32)
    fold = MILCVData(bags, bags.fold).fold(0)
    targets = fold.targets(config.loss)
    model = step.trained_a_little(MILModelBuilder().build(config, fold)).double()
    assert max(step.largest_difference(model, fold, targets)) < 1e-12
    twin, objective = padded_reference.padded_twin(model).double().eval(), padded_reference.PaddedObjective(model)
    index = torch.from_numpy(fold.train[:40])
    dataset = padded_reference.MoleculeDataset(fold, targets)
    padded = padded_reference.pad_collate([dataset[i] for i in index.tolist()])
    theirs = objective(twin(padded.x2d.double(), padded.x3d_pad.double(), padded.kpm), padded.targets)
    batch = fold.batch(index, targets)
    ours = model.eval().loss(dataclasses.replace(batch, x2d=batch.x2d.double(), xinst=batch.xinst.double())).total
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    ours.backward()
    theirs.backward()
    for name in ("inst_embedder.blocks.0.fc1.weight", "mol_embedder.project.weight", "mixer.input_norm.weight"):
        torch.testing.assert_close(model.get_parameter(name).grad, twin.get_parameter(name).grad, atol=1e-12, rtol=1e-9)
    query, keys = model.aggregator.get_parameter("query").grad, model.aggregator.get_parameter("in_proj_weight").grad
    torch.testing.assert_close(query, twin.pool.query.grad, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(keys, twin.pool.attention.in_proj_weight.grad, atol=1e-12, rtol=1e-9)
    first_head = twin.heads[0].blocks[0].fc2.weight.grad
    torch.testing.assert_close(model.heads.fc2_weight[0].grad[0].T, first_head, atol=1e-12, rtol=1e-9)
    after_a_step_in_float32(padded_reference, model.float(), batch, padded)


def after_a_step_in_float32(reference, model, batch, padded) -> None:
    """One step of the optimizer from the same weights leaves both with the same outputs, to 1e-5."""
    model.zero_grad()
    twin, objective = reference.padded_twin(model).eval(), reference.PaddedObjective(model)
    ours, theirs = (torch.optim.SGD(one.parameters(), lr=0.01) for one in (model, twin))
    model.loss(batch).total.backward()
    objective(twin(*padded[:3]), padded.targets).backward()
    before = model.predict(batch)[0].detach()
    ours.step()
    theirs.step()
    logits = model.predict(batch)[0]
    assert (logits - before).abs().max() > 1e-3
    torch.testing.assert_close(logits, twin(*padded[:3])[0], atol=1e-5, rtol=1e-5)
