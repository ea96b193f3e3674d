"""The contract holds for everything registered, and a part that breaks one promise is refused by name."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from milbench import testing
from milbench.errors import ConfigError
from milbench.models import (
    build_2d_embedder,
    build_aggregator,
    register_2d_embedder,
    register_3d_embedder,
    register_aggregator,
    register_predictor,
)
from milbench.models.attention_pool import TaskAttentionPool
from milbench.models.layers import ResidualMLP, StackedHeads
from milbench.registry import AGGREGATORS, INST_EMBEDDERS, MOL_EMBEDDERS, PREDICTORS, REGISTRIES


@pytest.mark.parametrize("name", AGGREGATORS.names())
@pytest.mark.parametrize("n_tasks", [1, 7])
def test_every_registered_aggregator_holds_its_contract(name: str, n_tasks: int) -> None:
    testing.check_aggregator(lambda *args: AGGREGATORS.build(name, *args), n_tasks=n_tasks)


@pytest.mark.parametrize("options", [{"pool_from": "inputs"}, {"pool_from": "attn_out"}, {"pool_v_mode": "linear"}], ids=str)
def test_the_attention_pool_holds_its_contract_with_other_options(options: dict) -> None:
    testing.check_aggregator(lambda *args: TaskAttentionPool(*args, **options))


@pytest.mark.parametrize(
    ("registry", "name"), [pytest.param(r, n, id=f"{r.kind} {n}") for r in (MOL_EMBEDDERS, INST_EMBEDDERS) for n in r.names()]
)
def test_every_registered_embedder_holds_its_contract(registry, name: str) -> None:
    for widths in ({}, {"input_dim": 32, "hidden_dim": 32}):
        testing.check_embedder(lambda *args: registry.build(name, *args), **widths)


@pytest.mark.parametrize("name", PREDICTORS.names())
def test_every_registered_predictor_holds_its_contract(name: str) -> None:
    for count in (1, 10):
        if count > 1:  # one head has no other to read
            testing.check_predictor(lambda *args: PREDICTORS.build(name, *args), count=count)


def test_the_shipped_names_are_the_specified_ones() -> None:
    assert AGGREGATORS.names() == ("gated_attention", "max_pool", "mean_pool", "task_attention_pool")
    assert MOL_EMBEDDERS.names() == ("mlp_plain_2d", "mlp_v3_2d")
    assert INST_EMBEDDERS.names() == ("mlp_v3_3d",)
    assert PREDICTORS.names() == ("linear", "mlp_v3")


class Mean(nn.Module):
    """A correct aggregator without any parameter."""

    def __init__(self, dim: int, n_heads: int, dropout: float, n_tasks: int) -> None:
        super().__init__()
        self.n_tasks = n_tasks

    def forward(self, tokens: Tensor, offsets: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        alpha = (1 / offsets.diff())[segment].unsqueeze(1).expand(-1, self.n_tasks)
        return self.pooled(alpha, tokens, segment, len(offsets) - 1), alpha

    def pooled(self, alpha: Tensor, tokens: Tensor, segment: Tensor, n: int) -> Tensor:
        values = alpha.unsqueeze(-1) * tokens.unsqueeze(1)
        return torch.zeros(n, *values.shape[1:]).index_add(0, segment, values)


def _aggregator(change: Callable[..., tuple[Tensor, Tensor]], **parameters: Tensor) -> type[Mean]:
    class Broken(Mean):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            for name, value in parameters.items():
                self.register_parameter(name, nn.Parameter(value))

        def forward(self, tokens: Tensor, offsets: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
            return change(self, *super().forward(tokens, offsets, segment), tokens, offsets, segment)

    return Broken


BROKEN_AGGREGATORS = {
    "pooled is (5, 32), not [B, T, D]": _aggregator(lambda s, p, a, *_: (p[:, 0], a)),
    "attention is (3, 11), not [R, T]": _aggregator(lambda s, p, a, *_: (p, a.T)),
    "attention does not sum to 1": _aggregator(lambda s, p, a, *_: (p, a / 2)),
    "attention is negative": _aggregator(lambda s, p, a, t, o, seg: (p, torch.where(a < 1, a - 1 + 2 * _first(a, o), a))),
    "an empty bag is not pooled to zeros": _aggregator(lambda s, p, a, *_: (p + 1, a)),
    "pooled is not finite": _aggregator(lambda s, p, a, *_: (p / (p != 0), a)),
    "the order of instances changes the result": _aggregator(
        lambda s, p, a, t, o, seg: (
            p + torch.zeros_like(p).index_put((seg[o[:-1][o.diff() > 0]],), t[o[:-1][o.diff() > 0], None]),
            a,
        )
    ),
    "attention does not follow its instance": _aggregator(lambda s, p, a, t, o, seg: (p, _first(a, o))),
    "changes with what else is in the batch": _aggregator(lambda s, p, a, *_: (p * (1 + p.abs().max()), a)),
    "no gradient reaches unused": _aggregator(lambda s, p, a, *_: (p * s.used, a), used=torch.ones(32), unused=torch.ones(3)),
    "the gradient of power is not finite": _aggregator(
        lambda s, p, a, *_: (p * torch.where(p != 0, (s.power * 0).sqrt(), 0) + p, a), power=torch.ones(1)
    ),
}


def _first(a: Tensor, offsets: Tensor) -> Tensor:
    """All attention on the first row of each bag."""
    return torch.zeros_like(a).index_fill(0, offsets[:-1][offsets.diff() > 0], 1.0)


@pytest.mark.parametrize("promise", BROKEN_AGGREGATORS)
def test_a_broken_aggregator_is_refused_with_the_promise_it_breaks(promise: str) -> None:
    with pytest.raises(ConfigError) as caught:
        register_aggregator("broken", BROKEN_AGGREGATORS[promise])
    assert promise in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "broken" not in AGGREGATORS.names()


class Wide(nn.Module):
    """A correct embedder."""

    def __init__(self, input_dim: int, hidden_dim: int, layers: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.linear, self.spare = nn.Linear(input_dim, hidden_dim), nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.spare.sum()


def _embedder(change: Callable[[nn.Module, Tensor], Tensor]) -> type[Wide]:
    return type("Broken", (Wide,), {"forward": change})


BROKEN_EMBEDDERS = {
    "output is (7, 31), not (7, 32)": _embedder(lambda s, x: Wide.forward(s, x)[:, 1:]),
    "a row changes with what else is in the batch": _embedder(lambda s, x: Wide.forward(s, x - x.mean(0))),
    "the order of rows changes the result": _embedder(lambda s, x: Wide.forward(s, x) + x.cumsum(0)[:, :1]),
    "no rows do not give no rows": _embedder(lambda s, x: Wide.forward(s, x if len(x) else torch.zeros(1, 24))),
    "no gradient reaches spare": _embedder(lambda s, x: s.linear(x)),
    "no gradient reaches linear.weight": _embedder(lambda s, x: Wide.forward(s, x).detach()),
}


@pytest.mark.parametrize("promise", BROKEN_EMBEDDERS)
@pytest.mark.parametrize("register", [register_2d_embedder, register_3d_embedder])
def test_a_broken_embedder_is_refused_with_the_promise_it_breaks(register, promise: str) -> None:
    with pytest.raises(ConfigError) as caught:
        register("broken", BROKEN_EMBEDDERS[promise])
    assert promise in str(caught.value)


class Plain(nn.Module):
    """A correct predictor."""

    def __init__(self, in_dim, count, activation, num_layers, dropout, stochastic_depth, gain) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, in_dim))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(-1)


BROKEN_PREDICTORS = {
    "output is (6, 3, 1), not [B, count]": lambda s, x: Plain.forward(s, x).unsqueeze(-1),
    "a molecule changes with what else is in the batch": lambda s, x: Plain.forward(s, x - x.mean(0)),
    "a head reads another head's input": lambda s, x: Plain.forward(s, x.mean(1, keepdim=True).expand_as(x)),
    "or not its own": lambda s, x: Plain.forward(s, x.roll(1, dims=1)),
    "no gradient reaches weight": lambda s, x: (x * s.weight.detach()).sum(-1) + 0 * s.weight.sum(),
}


@pytest.mark.parametrize("promise", BROKEN_PREDICTORS)
def test_a_broken_predictor_is_refused_with_the_promise_it_breaks(promise: str) -> None:
    with pytest.raises(ConfigError) as caught:
        register_predictor("broken", type("Broken", (Plain,), {"forward": BROKEN_PREDICTORS[promise]}))
    assert promise in str(caught.value)


def test_everything_that_is_broken_is_said_at_once() -> None:
    part = _aggregator(lambda s, p, a, *_: (p + 1, a / 2))
    with pytest.raises(ConfigError, match=r"sum to 1.*; an empty bag.*testing"):
        testing.check_aggregator(part)


def test_correct_parts_of_a_user_pass_even_without_parameters() -> None:
    testing.check_aggregator(Mean)
    testing.check_embedder(Wide)
    testing.check_predictor(Plain)


def test_a_builder_of_other_arguments_or_of_no_module_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"aggregator contract: cannot be built with 4 arguments"):
        testing.check_aggregator(lambda dim: Mean(dim, 1, 0.0, 1))
    with pytest.raises(ConfigError, match=r"embedder contract: builder gives, got 'int', want a torch.nn.Module"):
        testing.check_embedder(lambda *args: 3)


def test_a_registered_part_is_built_by_name_and_its_name_cannot_be_taken_again() -> None:
    register_aggregator("plain_mean", Mean)
    try:
        assert isinstance(build_aggregator("plain_mean", 8, 2, 0.0, 3), Mean)
        with pytest.raises(
            ConfigError, match=r"'plain_mean': is registered already; choose another name than gated_attention, "
        ):
            register_aggregator("plain_mean", Mean)
    finally:
        AGGREGATORS.unregister("plain_mean")
    assert "plain_mean" not in AGGREGATORS.names()


def test_checking_a_part_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    testing.check_aggregator(TaskAttentionPool)
    testing.check_embedder(ResidualMLP)
    testing.check_predictor(StackedHeads)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_name_lists_what_there_is_and_suggests_the_closest() -> None:
    with pytest.raises(ConfigError) as caught:
        build_aggregator("task_atention_pool", 8, 2, 0.0, 3)
    said = str(caught.value)
    assert "want one of gated_attention, max_pool, mean_pool, task_attention_pool" in said
    assert "did you mean 'task_attention_pool'?" in said


def test_the_legacy_name_mlp_v3_means_either_embedder_and_is_taken() -> None:
    assert isinstance(build_2d_embedder("mlp_v3", 3, 8, 1, 0.0, "SiLU"), ResidualMLP)
    assert MOL_EMBEDDERS.resolve("mlp_v3") == "mlp_v3_2d"
    assert INST_EMBEDDERS.resolve("mlp_v3") == "mlp_v3_3d"
    with pytest.raises(ConfigError, match="is registered already"):
        register_2d_embedder("mlp_v3", ResidualMLP)


def test_there_are_four_registries() -> None:
    assert set(REGISTRIES) == {"2d_embedder", "3d_embedder", "aggregator", "predictor"}
