"""K models computed as one give what each gives alone: losses, gradients, logits, steps."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builders import make_bags, make_cv, make_model
from milbench.configs import LossWeightingConfig
from milbench.data.bags import BagBatch
from milbench.data.buckets import bucket
from milbench.models import MILTaskAttnMixerWithAux, layers
from milbench.models.stacked import StackedModels, stacked_batch, why_not_stacked
from milbench.registry import AGGREGATORS

SIZES = np.random.default_rng(0).integers(0, 6, 90)
K = 3
POOLS: list[dict[str, Any]] = [
    {"pool_from": "inputs", "pool_v_mode": "linear"},
    {"pool_from": "attn_out", "residual_pooling": "sum"},
    {"pool_v_mode": "none", "use_temperature": True},
    *({"topk_n": 2, "topk_strategy": strategy} for strategy in ("renorm", "mean", "sum", "argmax")),
    {"prune_below": 0.2, "residual_pooling": "gate"},
]
DEEP = {"inst_layers": 2, "mol_layers": 2, "mixer_layers": 2, "head_num_layers": 2, "inst_hidden": 16}
OPTIONS = [{"aggregator_name": name} for name in AGGREGATORS.names()] + POOLS + [DEEP]


@pytest.fixture
def ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout masks of ones: all of the noise but its dice."""
    monkeypatch.setattr(layers, "keep_mask", lambda shape, p, device: torch.ones(shape, dtype=torch.int8))


def models_of(options: dict[str, Any], training: bool = True) -> list[MILTaskAttnMixerWithAux]:
    bags = make_bags(90, sizes=SIZES)
    return [make_model(bags, seed=k, **options).double().train(training) for k in range(K)]


def batches_of(seed: int = 0) -> list[BagBatch]:
    """A batch of each fold, filled up to as many rows as the longest needs."""
    cv = make_cv(make_bags(90, sizes=SIZES))
    rng = np.random.default_rng(seed)
    picked = [torch.from_numpy(rng.choice(cv.fold(k).train, 20)) for k in range(K)]
    total = bucket(max(int(SIZES[index.numpy()].sum()) for index in picked))
    out = []
    for k, index in enumerate(picked):
        fold = cv.fold(k)
        batch = fold.scaled.batch(index, fold.targets(LossWeightingConfig()), total, fill=True)
        out.append(BagBatch(batch.x2d.double(), batch.xinst.double(), *[getattr(batch, n) for n in ("offsets", "segment")],
                            batch.index, batch.targets))  # fmt: skip
    return out


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def alone(
    models: Sequence[MILTaskAttnMixerWithAux], batches: Sequence[BagBatch]
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    losses = []
    for model, batch in zip(models, batches, strict=True):
        model.zero_grad()
        loss = model.loss(batch).total
        loss.backward()
        losses.append(loss.detach())
    return losses, [gradients(model) for model in models]


@pytest.mark.usefixtures("ones")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_losses_and_gradients_are_those_of_each_model_alone(options: dict[str, Any], training: bool) -> None:
    models, batches = models_of(options, training), batches_of()
    losses, expected = alone(models, batches)
    stack = StackedModels(models)
    together = stack.losses(stacked_batch(batches))
    together.sum().backward()
    torch.testing.assert_close(together.detach(), torch.stack(losses), rtol=1e-12, atol=1e-12)
    stack.hand_out(range(K))
    for model, own in zip(models, expected, strict=True):
        torch.testing.assert_close(gradients(model), own, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_are_those_of_each_model_alone(options: dict[str, Any]) -> None:
    models, batches = models_of(options, training=False), batches_of()
    with torch.no_grad():
        expected = torch.stack([model.forward_bags(batch).logits for model, batch in zip(models, batches, strict=True)])
        torch.testing.assert_close(StackedModels(models).logits(stacked_batch(batches)), expected.float(), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("ones")
def test_a_model_without_a_step_stays_as_it_is_with_its_optimizers_state() -> None:
    models, batches = models_of({}), stacked_batch(batches_of())
    stack = StackedModels(models)
    optimizer = torch.optim.AdamW([p for m in models for p in m.parameters() if p.requires_grad], lr=0.1, fused=True)
    before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
    stack.losses(batches).sum().backward()
    stack.hand_out([0, 2])
    optimizer.step()
    same = [all(torch.equal(own[n], v) for n, v in m.state_dict().items()) for own, m in zip(before, models, strict=True)]
    assert same == [False, True, False]
    assert all(p not in optimizer.state for p in models[1].parameters())
    for name, storage in stack.parameters.items():  # what was stepped in the models is what the stack computes with
        for k, model in enumerate(models):
            assert storage[k].data_ptr() == model.get_parameter(name).data_ptr()


@pytest.mark.usefixtures("ones")
def test_gradients_add_up_until_they_are_cleared_for_each_by_itself() -> None:
    models, batches = models_of({}), stacked_batch(batches_of())
    stack = StackedModels(models)
    stack.losses(batches).sum().backward()
    name = "proj2d.0.weight"
    first = stack.parameters[name].grad.clone()  # type: ignore[union-attr]
    stack.clear([1])
    stack.losses(batches).sum().backward()
    torch.testing.assert_close(stack.parameters[name].grad, first * torch.tensor([2.0, 1.0, 2.0]).view(-1, 1, 1))


def test_dropout_draws_for_each_model_and_is_repeated_by_its_seed() -> None:
    models = models_of({})
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    stack, batch = StackedModels(models), batches_of()[0]
    same = stacked_batch([batch] * K)

    def losses(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return stack.losses(same).detach()

    assert len(set(losses(0).tolist())) == K
    assert torch.equal(losses(0), losses(0))
    assert not torch.equal(losses(0), losses(1))


def test_dropout_keeps_as_much_as_it_does_alone() -> None:
    drawn = torch.func.vmap(lambda x: layers.keep_mask((300, 200), 0.3, x.device) * x, randomness="different")(torch.ones(3, 1))
    assert drawn.shape == (3, 300, 200)
    assert torch.allclose(drawn.float().mean((1, 2)), torch.tensor(0.7), atol=0.01)


def test_bfloat16_is_near_float32_and_losses_stay_in_float32() -> None:
    models, batches = [model.float() for model in models_of({}, training=False)], stacked_batch(batches_of())
    batches = BagBatch(
        batches.x2d.float(), batches.xinst.float(), batches.offsets, batches.segment, batches.index, batches.targets
    )
    stack = StackedModels(models)
    exact = stack.losses(batches).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rough = stack.losses(batches)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.detach(), exact, rtol=0.05, atol=0.05)


def test_models_of_other_shapes_and_parts_of_ones_own_are_refused_by_name() -> None:
    class Mine(nn.Module):
        pass

    Mine.__module__ = "my_parts"
    bags = make_bags(90, sizes=SIZES)
    one, wider = make_model(bags), make_model(bags, mol_hidden=16)
    assert why_not_stacked([one, make_model(bags, seed=1)]) == ""
    assert "has another shape in another fold" in why_not_stacked([one, wider])
    one.add_module("mine", Mine())
    assert why_not_stacked([one, one]) == "Mine is a part of your own"


def test_the_mean_loss_under_dropout_is_that_of_a_model_alone() -> None:
    models = models_of({"mol_dropout": 0.3, "inst_dropout": 0.3, "attn_dropout": 0.2})
    model, batch = models[0], batches_of()[0]
    for other in models[1:]:
        other.load_state_dict(model.state_dict())
    stack, same = StackedModels(models), stacked_batch([batch] * K)
    torch.manual_seed(0)
    with torch.no_grad():
        alone = torch.stack([model.loss(batch).total for _ in range(300)])
        together = torch.cat([stack.losses(same) for _ in range(100)])
    error = (alone.std() ** 2 / 300 + together.std() ** 2 / 300).sqrt()
    assert abs(alone.mean() - together.mean()) < 4 * error
    assert 0.8 < together.std() / alone.std() < 1.25


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_under_bfloat16_softmax_and_losses_are_in_float32_and_near_the_exact_ones(options: dict[str, Any]) -> None:
    model, batch = models_of(options, training=False)[0].float(), batches_of()[0]
    batch = dataclasses.replace(batch, x2d=batch.x2d.float(), xinst=batch.xinst.float())
    exact = model.loss(batch).total
    with torch.autocast("cpu", torch.bfloat16):
        terms, out = model.loss(batch), model.forward_bags(batch)
    assert {terms.total.dtype, terms.per_task.dtype} == {torch.float32}
    torch.testing.assert_close(terms.total, exact, rtol=0.05, atol=0.05)
    if options.get("aggregator_name", "task_attention_pool") in ("task_attention_pool", "gated_attention"):
        assert out.attn.dtype == torch.float32
        if options.get("topk_strategy") != "sum":
            sums = torch.zeros(len(batch.offsets) - 1, 4).index_add(0, batch.segment, out.attn.detach())
            torch.testing.assert_close(sums, (batch.offsets.diff() > 0).float().unsqueeze(1).expand_as(sums), rtol=0, atol=1e-5)
