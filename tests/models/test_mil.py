"""The whole model: the seed's flow for any T, its loss, and what it does with the corner cases."""

import dataclasses
import json
import logging

import pytest
import torch
from torch import Tensor

from builders import batch_of, make_bags, make_cv, make_model, make_tasks, stir, tiny_config
from milbench.configs import HPOConfig, MILModelConfig
from milbench.data.bags import BagBatch, BagData
from milbench.errors import ConfigError
from milbench.losses import group_cross_entropy, reg_loss_weighted
from milbench.models import MILModelBuilder, MILTaskAttnMixerWithAux

SHAPES = [(1, 0, 0), (1, 2, 0), (3, 0, 1), (4, 2, 4), (7, 3, 2)]


def training_batch(bags: BagData, n: int = 24, **params: object) -> tuple[MILTaskAttnMixerWithAux, BagBatch]:
    data = make_cv(bags)
    config = tiny_config(data.tasks, **params)
    fold = data.fold(0)
    model = MILModelBuilder(0).build(config, fold)
    return model, fold.batch(torch.from_numpy(fold.train[:n]), fold.targets(config.loss))


@pytest.mark.parametrize(("n_tasks", "n_abs", "n_fluo"), SHAPES)
@pytest.mark.parametrize("top_k", [0, 3])
def test_any_number_of_endpoints_with_and_without_auxiliaries_trains(n_tasks: int, n_abs: int, n_fluo: int, top_k: int) -> None:
    bags = make_bags(n_tasks=n_tasks, n_abs=n_abs, n_fluo=n_fluo)
    model, batch = training_batch(bags, bitmask_group_top_k=top_k, attn_dropout=0.0)
    out = model.forward_bags(batch)
    assert out.logits.shape == (24, n_tasks)
    assert out.abs_out.shape == (24, n_abs)
    assert out.fluo_out.shape == (24, n_fluo)
    assert out.attn.shape == (len(batch.xinst), n_tasks)
    groups = min(top_k, 2**n_tasks) + 1
    assert (out.bitmask is None) if top_k == 0 else (out.bitmask.shape == (24, groups))
    terms = model.loss(batch)
    terms.total.backward()
    assert terms.per_task.shape == (n_tasks,)
    assert (terms.abs == 0).item() == (n_abs == 0)
    assert (terms.fluo == 0).item() == (n_fluo == 0)
    assert (terms.bitmask == 0).item() == (top_k == 0)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_gradients_reach_every_parameter_of_a_stirred_model() -> None:
    model, batch = training_batch(make_bags())
    stirred = make_model(make_bags())
    model.load_state_dict(stirred.state_dict())
    model.loss(batch).total.backward()
    starved = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert starved == []


def test_classification_heads_read_their_own_task_and_the_others_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make_model(), batch_of(2, 3, 1)
    z = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    attn = torch.zeros(6, 4)

    def predict(z: Tensor) -> tuple[Tensor, Tensor]:
        monkeypatch.setattr(model, "task_embeddings", lambda batch: (z, attn))
        out = model.forward_bags(batch)
        return out.logits, torch.cat([out.abs_out, out.fluo_out, out.bitmask], dim=1)

    logits, shared = predict(z)
    changed = z.clone()
    changed[:, 1] = changed[:, 1].flip(1)
    other_logits, other_shared = predict(changed)
    assert ((other_logits - logits).abs().amax(0) > 1e-6).tolist() == [False, True, False, False]
    assert ((other_shared - shared).abs().amax(0) > 1e-6).all()
    torch.testing.assert_close(predict(z.roll(1, dims=1))[1], shared, atol=1e-5, rtol=1e-5)


def test_task_embeddings_follow_the_seed_step_by_step() -> None:
    model = make_model().double()
    batch = batch_of(2, 3, 1)
    batch = dataclasses.replace(batch, x2d=batch.x2d.double(), xinst=batch.xinst.double())
    e2d = model.proj2d(model.mol_norm(model.mol_embedder(batch.x2d)))
    tokens = model.inst_norm(model.inst_embedder(batch.xinst))
    pooled, attn = model.aggregator(tokens, batch.offsets, batch.segment)
    e3d = model.proj3d(model.pooled_norm(pooled))
    z = model.mixer_norm(model.mixer(torch.cat([e2d.unsqueeze(1).expand(-1, 4, -1), e3d], dim=-1)))
    ours, ours_attn = model.task_embeddings(batch)
    torch.testing.assert_close(ours, z, atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(ours_attn, attn)
    assert [type(layer).__name__ for layer in model.proj2d] == ["Linear", "LayerNorm"]


def test_padding_cannot_change_a_prediction() -> None:
    model, batch = make_model(), batch_of(3, 0, 2)
    with torch.no_grad():
        out = model.forward_bags(batch)
        for length in (3, 9):
            kpm = torch.arange(length) >= torch.tensor([3, 0, 2]).unsqueeze(1)
            x3d = torch.full((3, length, 6), float("inf"))
            x3d[~kpm] = batch.xinst
            logits, abs_out, fluo_out, attn = model(batch.x2d, x3d, kpm, return_attn=True)
            torch.testing.assert_close(logits, out.logits, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(abs_out, out.abs_out, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(fluo_out, out.fluo_out, atol=1e-5, rtol=1e-5)
            assert attn.shape == (3, 4, length)
            assert (attn.transpose(1, 2)[kpm] == 0).all()


def test_other_molecules_in_the_batch_cannot_change_a_prediction() -> None:
    model, batch = make_model(), batch_of(4, 2)
    with torch.no_grad():
        both = model.forward_bags(batch).logits
        shared = dataclasses.replace(batch, xinst=torch.cat([batch.xinst[:4], 1e3 * batch.xinst[4:]]))
        torch.testing.assert_close(model.forward_bags(shared).logits[0], both[0], atol=1e-6, rtol=1e-6)


def test_an_empty_bag_is_predicted_from_2d_with_finite_gradients(empty_bag: BagBatch) -> None:
    model = make_model()
    x2d, xinst = empty_bag.x2d.requires_grad_(), empty_bag.xinst.requires_grad_()
    out = model.forward_bags(empty_bag)
    out.logits[1].sum().backward()
    assert torch.isfinite(out.logits).all()
    assert x2d.grad[1].abs().sum() > 0
    assert xinst.grad is None or not xinst.grad.any()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_bag_of_one_is_attended_whole(one_bag: BagBatch) -> None:
    out = make_model().forward_bags(one_bag)
    torch.testing.assert_close(out.attn, torch.ones(1, 4))


def test_predicting_without_the_auxiliary_heads_changes_neither_logits_nor_attention() -> None:
    model, batch = training_batch(make_bags())
    stir(model.eval())
    out = model.forward_bags(batch)
    logits, attn = model.predict(batch)
    torch.testing.assert_close(logits, out.logits, atol=1e-6, rtol=1e-6)
    assert torch.equal(attn, out.attn)


def test_the_loss_is_the_seeds_sum_of_weighted_terms() -> None:
    model, batch = training_batch(make_bags(), lambda_aux_abs=0.3, lambda_aux_fluo=0.5, lambda_aux_bitmask=0.07)
    model.eval()
    y, out, terms = batch.targets, model.forward_bags(batch), model.loss(batch)
    per_task = model.focal(out.logits, y.y, y.w)
    loss_abs = reg_loss_weighted(out.abs_out, y.abs, y.has_abs, y.w_abs)
    loss_fluo = reg_loss_weighted(out.fluo_out, y.fluo, y.has_fluo, y.w_fluo)
    pattern = group_cross_entropy(out.bitmask, y.group, model.bitmask_weight)
    total = (model.lam * per_task).mean() + 0.3 * loss_abs + 0.5 * loss_fluo + 0.07 * pattern
    torch.testing.assert_close(terms.total, total)
    torch.testing.assert_close(terms.per_task, per_task)
    assert min(terms.abs, terms.fluo, terms.bitmask) > 0


def test_smooth_l1_is_a_choice_of_the_regression_loss() -> None:
    bags = make_bags()
    mse, smooth = (training_batch(bags, reg_loss_type=kind)[0].eval() for kind in ("mse", "smoothl1"))
    batch = training_batch(bags)[1]
    assert mse.loss(batch).abs > smooth.loss(batch).abs


def test_labels_and_auxiliaries_that_are_all_missing_touch_nothing(
    all_missing: BagData, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        model, batch = training_batch(all_missing)
    terms = model.loss(batch)
    terms.total.backward()
    assert terms.per_task[-1] == 0
    assert terms.per_task[:-1].min() > 0
    assert terms.abs == terms.fluo == terms.bitmask == 0
    assert (batch.targets.group == -100).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_value_of_a_missing_label_can_touch_neither_loss_nor_gradient() -> None:
    model, batch = training_batch(make_bags(missing=0.3))
    model.eval()
    losses, grads = [], []
    for junk in (0.0, 1.0, -7.5):
        y = torch.where(batch.targets.known, batch.targets.y, junk)
        model.zero_grad()
        terms = model.loss(dataclasses.replace(batch, targets=dataclasses.replace(batch.targets, y=y)))
        terms.total.backward()
        losses.append(terms.total.item())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert losses[0] == losses[1] == losses[2]
    assert torch.equal(grads[0], grads[1])


def test_under_bf16_autocast_the_losses_are_float32() -> None:
    model, batch = training_batch(make_bags())
    exact = model.eval().loss(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.loss(batch)
        attn = model.forward_bags(batch).attn
    assert {getattr(terms, f.name).dtype for f in dataclasses.fields(terms)} == {torch.float32}
    assert attn.dtype == torch.float32
    torch.testing.assert_close(terms.total, exact.total, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", ["mean_pool", "max_pool", "gated_attention"])
def test_each_baseline_aggregator_serves_in_the_model(name: str) -> None:
    model, batch = training_batch(make_bags(), aggregator_name=name)
    model.loss(batch).total.backward()
    sums = torch.zeros(24, 4).index_add(0, batch.segment, model.forward_bags(batch).attn)
    torch.testing.assert_close(sums, torch.ones(24, 4), atol=1e-5, rtol=0)


def test_options_of_attention_are_refused_by_a_baseline() -> None:
    with pytest.raises(ConfigError, match="MeanPool: has no such option, got 'topk_n'"):
        training_batch(make_bags(), aggregator_name="mean_pool", topk_n=2)


def test_the_legacy_embedder_name_builds_the_same_model() -> None:
    new, old = make_model(), make_model(mol_embedder_name="mlp_v3", inst_embedder_name="mlp_v3")
    batch = batch_of(2, 1)
    assert torch.equal(new.forward_bags(batch).logits, old.forward_bags(batch).logits)


def test_pattern_logits_are_given_only_by_a_model_that_has_the_head() -> None:
    batch, kpm = batch_of(2), torch.zeros(1, 2, dtype=torch.bool)
    with_head, without = make_model(), make_model(bitmask_group_top_k=0)
    assert with_head(batch.x2d, batch.xinst[None], kpm, return_bitmask=True)[-1].shape == (1, 7)
    assert len(without(batch.x2d, batch.xinst[None], kpm)) == 3
    with pytest.raises(ConfigError, match="no label-pattern head"):
        without(batch.x2d, batch.xinst[None], kpm, return_bitmask=True)


def test_initial_weights_come_from_seed_and_fold_alone() -> None:
    data, config = make_cv(), tiny_config()

    def weights(seed: int, k: int) -> Tensor:
        model = MILModelBuilder(seed).build(config, data.fold(k))
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(weights(0, 0), first)
    assert not torch.equal(weights(1, 0), first)
    assert not torch.equal(weights(0, 1), first)


def test_a_model_is_restored_from_its_configuration_as_json_and_its_weights() -> None:
    model, batch = make_model(make_bags(n_tasks=3, n_abs=1, n_fluo=0)), batch_of(2, 1)
    config = MILModelConfig.from_dict(json.loads(json.dumps(model.config.to_dict())))
    assert config == model.config
    tensors = {"pos_weight": torch.ones(3), "gamma": torch.ones(3), "lam": torch.ones(3)}
    again = MILTaskAttnMixerWithAux.from_config(config, **tensors)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval().forward_bags(batch).logits, model.forward_bags(batch).logits)
    assert torch.equal(again.lam, model.lam)


def test_loss_tensors_of_another_number_of_tasks_are_refused() -> None:
    config = make_model().config
    with pytest.raises(ConfigError, match="loss tensors: got '3, 4, 4 tasks', want 4"):
        MILTaskAttnMixerWithAux.from_config(config, pos_weight=torch.ones(3), gamma=torch.ones(4), lam=torch.ones(4))


@pytest.mark.parametrize("config", [HPOConfig(), tiny_config(make_tasks(3)), tiny_config(make_tasks(1))])
def test_a_configuration_of_other_tasks_is_refused_in_words(config: HPOConfig) -> None:
    with pytest.raises(ConfigError, match=r"posw_clip: got \d, want a value for each of 4 tasks; .*from_params"):
        MILModelBuilder(0).build(config, make_cv().fold(0))


def test_a_batch_without_targets_has_no_loss() -> None:
    with pytest.raises(ConfigError, match="this batch has no targets"):
        make_model().loss(batch_of(1))
