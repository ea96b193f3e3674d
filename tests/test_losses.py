"""Losses against their plain formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from milbench.errors import ConfigError
from milbench.losses import MultiTaskFocal, group_cross_entropy, reg_loss_weighted

B, T = 6, 3
GAMMAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # exact in float32, in which gamma is kept


def arrays(low: float, high: float, shape: tuple[int, ...] = (B, T)) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, shape, elements=st.floats(low, high, allow_subnormal=False))


def labels(shape: tuple[int, ...] = (B, T)) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0]))


@given(
    arrays(-8, 8), labels(), arrays(-1, 3), hnp.arrays(np.float32, T, elements=st.sampled_from(GAMMAS)), arrays(1, 200, (T,))
)
def test_the_focal_loss_is_the_plain_formula(
    z: np.ndarray, y: np.ndarray, w: np.ndarray, gamma: np.ndarray, pos: np.ndarray
) -> None:
    pos = pos.astype(np.float32).astype(np.float64)
    p = 1 / (1 + np.exp(-z))
    bce = -(pos * y * np.log(p) + (1 - y) * np.log(1 - p))
    pt = np.where(y == 1, p, 1 - p)
    w_clamped = np.clip(w, 0, None)
    expected = (w_clamped * (1 - pt) ** gamma * bce).sum(0) / np.maximum(w_clamped.sum(0), 1e-6)
    focal = MultiTaskFocal(torch.tensor(pos), torch.tensor(gamma))
    np.testing.assert_allclose(focal(*map(torch.tensor, (z, y, w))).numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_are_finite_for_logits_up_to_ten_thousand(gamma: float, dtype: torch.dtype) -> None:
    size = torch.tensor([0, 1e-8, 1e-3, 1, 15, 17, 20, 40, 89, 104, 1e3, 1e4], dtype=dtype)
    z = torch.cat([-size, size]).unsqueeze(1).requires_grad_()
    for y in (0.0, 1.0):
        focal = MultiTaskFocal(torch.tensor([220.0]), torch.tensor([gamma]))
        one_by_one = torch.stack([focal(v.view(1, 1), torch.full((1, 1), y), torch.ones(1, 1)) for v in z])
        (gradient,) = torch.autograd.grad(one_by_one.sum(), z)
        assert torch.isfinite(one_by_one).all()
        assert torch.isfinite(gradient).all()
        wrong_and_sure = one_by_one[len(size) - 1 if y == 1 else -1]
        assert wrong_and_sure.item() == pytest.approx(1e4 * (220 if y == 1 else 1), rel=1e-5)


def test_without_focus_and_weights_it_is_binary_cross_entropy() -> None:
    z, y = torch.randn(B, T), torch.randint(2, (B, T)).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none").mean(0)
    torch.testing.assert_close(MultiTaskFocal(torch.ones(T), torch.zeros(T))(z, y, torch.ones(B, T)), expected)


def test_weights_of_zero_everywhere_give_a_loss_of_zero_and_no_gradient() -> None:
    z = torch.randn(B, T, requires_grad=True)
    loss = MultiTaskFocal(torch.ones(T), torch.ones(T))(z, torch.ones(B, T), torch.zeros(B, T))
    loss.sum().backward()
    assert not loss.any()
    assert not z.grad.any()


def test_a_negative_weight_counts_as_zero() -> None:
    z, y, w = torch.randn(B, T), torch.randint(2, (B, T)).float(), torch.rand(B, T)
    w[0] = -5
    focal = MultiTaskFocal(torch.ones(T), torch.ones(T))
    torch.testing.assert_close(focal(z, y, w), focal(z[1:], y[1:], w[1:]))


def test_focal_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(ConfigError, match=r"MultiTaskFocal: gamma, got -1\.0, want 0 or more"):
        MultiTaskFocal(torch.ones(2), torch.tensor([1.0, -1.0]))
    with pytest.raises(ConfigError, match=r"MultiTaskFocal: shapes, got '\(2,\), \(3,\)', want \[T\], \[T\]"):
        MultiTaskFocal(torch.ones(2), torch.ones(3))


def _plain_regression(pred: np.ndarray, target: np.ndarray, mask: np.ndarray, w: np.ndarray, kind: str) -> float:
    outputs = []
    for a in range(pred.shape[1]):
        total = weight = 0.0
        for b in range(pred.shape[0]):
            if mask[b, a]:
                d = abs(pred[b, a] - target[b, a])
                error = d * d if kind == "mse" else (0.5 * d * d if d < 1 else d - 0.5)
                total += max(w[b, a], 0) * error
                weight += max(w[b, a], 0)
        outputs.append(total / max(weight, 1e-6))
    return sum(outputs) / len(outputs)


@given(arrays(-5, 5), arrays(-5, 5), hnp.arrays(np.bool_, (B, T)), arrays(-1, 3), st.sampled_from(["mse", "smoothl1"]))
def test_the_regression_loss_is_the_plain_formula(
    pred: np.ndarray, target: np.ndarray, mask: np.ndarray, w: np.ndarray, kind: str
) -> None:
    ours = reg_loss_weighted(*map(torch.tensor, (pred, target, mask, w)), kind).item()
    assert math.isclose(ours, _plain_regression(pred, target, mask, w, kind), rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("kind", ["mse", "smoothl1"])
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -1e30])
def test_masked_targets_touch_neither_value_nor_gradient(kind: str, junk: float) -> None:
    mask = torch.rand(B, T, generator=torch.Generator().manual_seed(0)) < 0.5
    results: list[tuple[Tensor, Tensor]] = []
    for filler in (0.0, junk):
        pred = torch.linspace(-2, 2, B * T).view(B, T).requires_grad_()
        target = torch.where(mask, 0.7, filler)
        weight = torch.where(mask, 1.3, filler)
        loss = reg_loss_weighted(pred, target, mask, weight, kind)
        loss.backward()
        results.append((loss.detach(), pred.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[1][1][~mask].any()
    assert results[1][1][mask].any()


def test_a_prediction_where_the_target_is_masked_may_even_be_nan() -> None:
    pred = torch.tensor([[float("nan")], [1.0]], requires_grad=True)
    loss = reg_loss_weighted(pred, torch.zeros(2, 1), torch.tensor([[False], [True]]), torch.ones(2, 1))
    loss.backward()
    assert loss == 1
    assert pred.grad.tolist() == [[0.0], [2.0]]


def test_nothing_known_gives_a_regression_loss_of_zero() -> None:
    pred = torch.randn(B, T, requires_grad=True)
    loss = reg_loss_weighted(pred, torch.full((B, T), float("nan")), torch.zeros(B, T, dtype=torch.bool), torch.ones(B, T))
    loss.backward()
    assert loss == 0
    assert not pred.grad.any()


def test_an_unknown_regression_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="reg_loss_type: got 'mae', want mse or smoothl1"):
        reg_loss_weighted(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1) > 0, torch.ones(1, 1), "mae")


@given(arrays(-5, 5, (B, 4)), hnp.arrays(np.int64, B, elements=st.sampled_from([-100, 0, 1, 2, 3])), arrays(1, 5, (4,)))
def test_pattern_cross_entropy_is_torchs_weighted_mean_over_known_patterns(
    z: np.ndarray, group: np.ndarray, weight: np.ndarray
) -> None:
    ours = group_cross_entropy(*map(torch.tensor, (z, group, weight))).item()
    if (group < 0).all():
        assert ours == 0
    else:
        expected = torch.nn.functional.cross_entropy(*map(torch.tensor, (z, group, weight))).item()
        assert math.isclose(ours, expected, rel_tol=1e-9)


def test_a_batch_without_known_patterns_has_a_zero_gradient() -> None:
    z = torch.randn(3, 4, requires_grad=True)
    group_cross_entropy(z, torch.full((3,), -100), torch.ones(4)).backward()
    assert not z.grad.any()


def test_under_bf16_autocast_every_loss_is_float32_and_exact() -> None:
    z = torch.randn(B, T, generator=torch.Generator().manual_seed(1))
    y, w, mask = (z > 0).float(), torch.rand(B, T), torch.ones(B, T, dtype=torch.bool)
    focal = MultiTaskFocal(torch.full((T,), 7.0), torch.full((T,), 0.3))

    def losses(logits: Tensor) -> list[Tensor]:
        group = torch.arange(B) % T
        return [focal(logits, y, w), reg_loss_weighted(logits, y, mask, w), group_cross_entropy(logits, group, torch.ones(T))]

    plain = losses(z.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = losses(z.bfloat16())
    for ours, exact in zip(mixed, plain, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, exact, atol=1e-6, rtol=1e-6)
