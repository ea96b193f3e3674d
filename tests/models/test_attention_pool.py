"""TaskAttentionPool against a plain per-molecule reference, for every combination of its options."""

from dataclasses import replace
from functools import cache
from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from builders import batch_of, make_bags, make_model, stir
from milbench.errors import ConfigError
from milbench.models.attention_pool import TaskAttentionPool
from milbench.models.segments import unpack

T, D, H = 3, 8, 2
SIZES = (3, 1, 0, 6, 2)
TOPK = [(0, "renorm"), *((2, strategy) for strategy in ("renorm", "mean", "sum", "argmax"))]
REST = [
    {"use_temperature": temperature, "topk_n": k, "topk_strategy": strategy, "prune_below": below, "residual_pooling": residual}
    for temperature, (k, strategy), below, residual in product((False, True), TOPK, (0.0, 0.3), ("none", "gate", "sum"))
]
"""The options beside `pool_from` and `pool_v_mode`, which name the tests."""


@pytest.fixture(params=product(("normed_inputs", "inputs", "attn_out"), ("tie_mha_v", "linear", "none")), ids="-".join)
def every_combination(request: pytest.FixtureRequest) -> list[dict]:
    """All options with this source and value projection: 9 x 60 = 540 in all."""
    return [{"pool_from": request.param[0], "pool_v_mode": request.param[1], **rest} for rest in REST]


def assert_same(ours: Tensor, theirs: Tensor, options: dict, tolerance: float | None = None) -> None:
    """Equal to 1e-12 in float64 and 1e-5 in float32; a failure names the options."""
    tolerance = tolerance or {torch.float64: 1e-12, torch.float32: 1e-5}[ours.dtype]
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance, msg=lambda said: f"{options}: {said}")


def make_pool(options: dict | None = None, dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> TaskAttentionPool:
    torch.manual_seed(0)
    pool = TaskAttentionPool(D, H, dropout, T, **(options or {}))
    stir(pool)
    return pool.to(dtype).eval()


@cache
def _cached(named: tuple, dtype: torch.dtype) -> TaskAttentionPool:
    return make_pool(dict(named), dtype)


def shared_pool(options: dict, dtype: torch.dtype = torch.float64) -> TaskAttentionPool:
    """`make_pool`, made once: for tests that only read it."""
    return _cached(tuple(options.items()), dtype)


def ragged(sizes: tuple[int, ...] = SIZES, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    batch = batch_of(*sizes, f3=D)
    return batch.xinst.to(dtype), batch.offsets, batch.segment


def weights_of_options(alpha: Tensor, pool: TaskAttentionPool) -> Tensor:
    """Top-k and pruning of one task's attention over one bag, alpha [N] -> weights [N]."""
    o, keep = pool.options, torch.zeros_like(alpha)
    if o.topk_n:
        best = torch.argsort(alpha, descending=True)[: 1 if o.topk_strategy == "argmax" else o.topk_n]
        keep[best] = 1
        alpha = {"mean": keep / keep.sum(), "argmax": keep, "sum": alpha * keep}.get(
            o.topk_strategy, alpha * keep / (alpha * keep).sum()
        )
    if o.prune_below:
        kept = alpha * (alpha >= o.prune_below)
        if not kept.any():
            kept = torch.zeros_like(alpha).index_fill(0, alpha.argmax(), 1.0)
        alpha = kept / kept.sum()
    return alpha


def plain(pool: TaskAttentionPool, x: Tensor) -> tuple[Tensor, Tensor]:
    """The pool as the seed writes it, for one bag of tokens x [N, D]: pooled [T, D], attention [T, N]. Keys are computed."""
    o = pool.options
    if not len(x):
        return x.new_zeros(T, D), x.new_zeros(T, 0)
    normed = pool.token_norm(x)
    wq, wk, wv = pool.in_proj_weight.chunk(3)
    bq, bk, bv = pool.in_proj_bias.chunk(3)
    tau = 1.0 if pool.log_tau is None else pool.log_tau.exp().clamp(0.1, 10)
    q = (F.linear(pool.query_norm(pool.query[0]), wq, bq) / tau).view(T, H, D // H)
    k = F.linear(normed, wk, bk).view(-1, H, D // H)
    per_head = torch.softmax(torch.einsum("thd,nhd->thn", q, k) / (D // H) ** 0.5, dim=-1)
    alpha = per_head.mean(1)
    chosen = torch.stack([weights_of_options(row, pool) for row in alpha])
    gate = None if pool.gate is None else torch.sigmoid(pool.gate)

    def blend(weights: Tensor) -> Tensor:
        uniform = torch.full_like(weights, 1 / len(x))
        if o.residual_pooling == "none":
            return weights
        return weights + uniform if gate is None else gate * weights + (1 - gate) * uniform

    if o.pool_from == "attn_out":
        v = F.linear(normed, wv, bv).view(-1, H, D // H)
        weights = blend(per_head * (chosen / alpha).unsqueeze(1))
        pooled = pool.out_proj(torch.einsum("thn,nhd->thd", weights, v).reshape(T, D))
    else:
        source = normed if o.pool_from == "normed_inputs" else x
        values = {"none": lambda y: y, "linear": pool.v_proj, "tie_mha_v": lambda y: F.linear(y, wv, bv)}[o.pool_v_mode](source)
        pooled = blend(chosen) @ values
    return pooled, chosen / chosen.sum(-1, keepdim=True)


def test_the_pool_is_the_plain_loop_over_molecules(every_combination: list[dict]) -> None:
    for options, dtype in product(every_combination, (torch.float64, torch.float32)):
        pool = shared_pool(options, dtype)
        tokens, offsets, segment = ragged(dtype=dtype)
        pooled, alpha = pool(tokens, offsets, segment)
        for b, (start, end) in enumerate(pairwise(offsets.tolist())):
            expected, attention = plain(pool, tokens[start:end])
            assert_same(pooled[b], expected, options)
            assert_same(alpha[start:end].T, attention, options)


def test_attention_sums_to_one_and_empty_bags_give_zeros_with_finite_gradients(every_combination: list[dict]) -> None:
    nonempty = torch.tensor(SIZES) > 0
    for options in every_combination:
        pool = shared_pool(options)
        tokens, offsets, segment = ragged()
        pooled, alpha = pool(tokens.requires_grad_(), offsets, segment)
        sums = torch.zeros(len(SIZES), T, dtype=torch.float64).index_add(0, segment, alpha)
        assert_same(sums, nonempty.double().unsqueeze(1).expand(-1, T), options)
        assert (alpha >= 0).all(), options
        assert (pooled[~nonempty] == 0).all(), options
        (pooled * torch.arange(1.0, D + 1)).sum().backward()
        assert tokens.grad.abs().sum() > 0, options
        for value in (tokens, *(p for p in pool.parameters() if p.grad is not None)):
            assert torch.isfinite(value.grad).all(), options


def test_the_order_of_conformers_cannot_change_a_pooled_vector(every_combination: list[dict]) -> None:
    tokens, offsets, segment = ragged()
    order = torch.cat([torch.arange(start, end).roll(1) for start, end in pairwise(offsets.tolist())])
    for options in every_combination:
        pool = shared_pool(options)
        pooled, alpha = pool(tokens, offsets, segment)
        shuffled, shuffled_alpha = pool(tokens[order], offsets, segment)
        assert_same(shuffled, pooled, options)
        assert_same(shuffled_alpha, alpha[order], options)


@pytest.fixture(scope="module")
def whole_models() -> dict:
    """One model of each precision; only its pool is exchanged."""
    bags = make_bags(40, n_tasks=T, n_abs=1, n_fluo=2)
    return {dtype: make_model(bags).to(dtype) for dtype in (torch.float64, torch.float32)}


def test_padded_ragged_and_one_by_one_predictions_agree(every_combination: list[dict], whole_models: dict) -> None:
    sizes = (3, 1, 0)
    kpm = torch.arange(5) >= torch.tensor(sizes).unsqueeze(1)
    kpm[0] = torch.tensor([True, False, True, False, False])  # padding may stand anywhere
    for options, dtype in product(every_combination, (torch.float64, torch.float32)):
        model = whole_models[dtype]
        model.aggregator = shared_pool(options, dtype)
        batch = batch_of(*sizes)
        batch = replace(batch, x2d=batch.x2d.to(dtype), xinst=batch.xinst.to(dtype))
        x3d = torch.full((3, 5, 6), float("nan"), dtype=dtype)  # nothing may read the padding
        x3d[~kpm] = batch.xinst
        with torch.no_grad():
            *padded, attn, pattern = model(batch.x2d, x3d, kpm, return_attn=True, return_bitmask=True)
            out = model.forward_bags(batch)
            assert (attn.transpose(1, 2)[kpm] == 0).all(), options
            assert_same(attn.transpose(1, 2)[~kpm], out.attn, options)
            for ours, theirs in zip((*padded, pattern), (out.logits, out.abs_out, out.fluo_out, out.bitmask), strict=True):
                assert_same(ours, theirs, options)
            for b in range(3) if dtype is torch.float64 else [0]:
                alone = model(batch.x2d[[b]], x3d[[b]][:, ~kpm[b]], kpm[[b]][:, ~kpm[b]])
                for ours, theirs in zip(alone, padded, strict=True):
                    assert_same(ours[0], theirs[b], options)


@pytest.mark.parametrize("pool_from", ["normed_inputs", "attn_out"])
def test_a_state_dict_of_multihead_attention_loads_and_gives_its_attention(pool_from: str) -> None:
    torch.manual_seed(5)
    theirs = torch.nn.MultiheadAttention(D, H, batch_first=True).double().eval()
    stir(theirs)
    pool = make_pool({"pool_from": pool_from})
    keys = pool.load_state_dict(theirs.state_dict(), strict=False)
    assert not keys.unexpected_keys
    assert not {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"} & set(keys.missing_keys)
    sizes = (3, 1, 5)
    tokens, offsets, segment = ragged(sizes)
    kpm = torch.arange(5) >= torch.tensor(sizes).unsqueeze(1)
    normed = unpack(pool.token_norm(tokens), kpm)
    query = pool.query_norm(pool.query).expand(len(sizes), -1, -1)
    output, attention = theirs(query, normed, normed, key_padding_mask=kpm)
    pooled, alpha = pool(tokens, offsets, segment)
    torch.testing.assert_close(unpack(alpha, kpm).transpose(1, 2), attention, atol=1e-12, rtol=1e-12)
    if pool_from == "attn_out":
        torch.testing.assert_close(pooled, output, atol=1e-12, rtol=1e-12)


def test_only_empty_bags_are_pooled_to_zeros() -> None:
    for options in ({}, {"pool_from": "attn_out"}, {"topk_n": 2, "prune_below": 0.1}, {"residual_pooling": "sum"}):
        pooled, alpha = make_pool(options)(*ragged((0, 0)))
        assert pooled.shape == (2, T, D)
        assert not pooled.any()
        assert alpha.shape == (0, T)


def test_the_learned_query_starts_small_and_the_temperature_at_0_3() -> None:
    torch.manual_seed(0)
    pool = TaskAttentionPool(64, 4, 0.0, 50, use_temperature=True)
    assert pool.query.shape == (1, 50, 64)
    assert pool.query.std().item() == pytest.approx(0.02, rel=0.05)
    assert pool.log_tau.exp().item() == pytest.approx(0.3)


def test_the_temperature_is_clamped_to_a_tenth_and_ten() -> None:
    tokens = ragged()
    pool = make_pool({"use_temperature": True})
    for log_tau, limit in ((-50.0, 0.1), (50.0, 10.0)):
        with torch.no_grad():
            pool.log_tau.fill_(log_tau)
            extreme = pool(*tokens)[1]
            pool.log_tau.fill_(torch.tensor(limit).log())
        torch.testing.assert_close(extreme, pool(*tokens)[1], atol=1e-6, rtol=1e-6)


def test_the_residual_gate_starts_at_one_half() -> None:
    pool = TaskAttentionPool(D, H, 0.0, T, residual_pooling="gate")
    assert torch.sigmoid(pool.gate).item() == 0.5


def test_huge_scores_keep_attention_and_gradients_finite() -> None:
    pool = make_pool({"use_temperature": True}, torch.float32)
    with torch.no_grad():
        pool.in_proj_weight.mul_(300)
        pool.log_tau.fill_(-9.0)
    tokens, offsets, segment = ragged(dtype=torch.float32)
    pooled, alpha = pool(tokens.requires_grad_(), offsets, segment)
    pooled.square().sum().backward()
    assert torch.isfinite(pooled).all()
    assert alpha.max() > 0.999
    assert torch.isfinite(tokens.grad).all()


def test_a_width_that_the_heads_do_not_divide_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"dim=10 is not a multiple of n_heads=4"):
        TaskAttentionPool(10, 4, 0.0, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_from": "tokens"},
        {"pool_v_mode": "mha"},
        {"topk_strategy": "best"},
        {"residual_pooling": "yes"},
        {"topk_n": -1},
        {"prune_below": 1.0},
        {"prune_below": -0.1},
    ],
    ids=str,
)
def test_an_impossible_option_is_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=r"TaskAttentionPool"):
        TaskAttentionPool(D, H, 0.0, T, **options)


def test_attention_dropout_acts_in_training_alone_and_leaves_attention_summing_to_one() -> None:
    tokens, offsets, segment = ragged((40, 50))
    pool = make_pool(dropout=0.5)
    calm = pool(tokens, offsets, segment)[1]
    torch.testing.assert_close(pool(tokens, offsets, segment)[1], calm, atol=0, rtol=0)
    noisy = pool.train()(tokens, offsets, segment)[1]
    assert (noisy - calm).abs().max() > 1e-3
    torch.testing.assert_close(torch.zeros(2, T, dtype=torch.float64).index_add(0, segment, noisy), torch.ones(2, T).double())


def test_an_instance_that_every_head_drops_weighs_nothing_and_the_others_as_kept() -> None:
    """Dropout acts on the weights of each head: with H heads an instance survives in some of them, in steps of its heads."""
    pool = make_pool(dropout=0.5).train()
    tokens, offsets, segment = torch.zeros(400, D).double(), torch.tensor([0, 400]), torch.zeros(400, dtype=torch.int64)
    alpha = pool(tokens, offsets, segment)[1]  # equal tokens: each head gives 1/400 to each
    steps = (alpha / alpha.max(0).values * H).detach()
    torch.testing.assert_close(steps, steps.round(), atol=1e-9, rtol=0)
    shares = [(steps.round() == kept).double().mean().item() for kept in range(H + 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.06)
