"""What every registered part must hold to; run over shipped parts by the tests and over a user's part when it is registered."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from milbench.errors import ConfigError

_TOLERANCE = 1e-4


class _Contract:
    """Collects what a part breaks, so that its author sees everything at once."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.broken: list[str] = []

    def demand(self, holds: bool, promise: str) -> None:
        if not holds:
            self.broken.append(promise)

    def close(self) -> None:
        if self.broken:
            raise ConfigError(f"{self.what} contract", "; ".join(self.broken), do="mend the part; see milbench.testing")


def _built(contract: _Contract, builder: Callable[..., nn.Module], *args: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            part = builder(*args)
        except TypeError as error:
            raise ConfigError(f"{contract.what} contract", f"cannot be built with {len(args)} arguments ({error})") from error
        if not isinstance(part, nn.Module):
            raise ConfigError(f"{contract.what} contract", "builder gives", got=type(part).__name__, want="a torch.nn.Module")
        with torch.no_grad():  # leave zero and constant initialisations, so that every path carries a signal
            for parameter in part.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return part.eval()


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a.double(), b.double(), atol=_TOLERANCE, rtol=_TOLERANCE))


def _demand_gradients(contract: _Contract, part: nn.Module, output: Tensor) -> None:
    if not output.requires_grad:  # a part without parameters, or one that cut the graph
        for name, parameter in part.named_parameters():
            contract.demand(not parameter.requires_grad, f"no gradient reaches {name}")
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        (output * torch.randn_like(output)).sum().backward()
    for name, parameter in part.named_parameters():
        if parameter.requires_grad:
            reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            contract.demand(reached, f"no gradient reaches {name}")
            finite = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
            contract.demand(finite, f"the gradient of {name} is not finite")


def _rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check_aggregator(builder: Callable[..., nn.Module], *, dim: int = 32, n_heads: int = 4, n_tasks: int = 3) -> None:
    """Raise a ConfigError that names every broken promise of an aggregator.

    Shapes; attention that sums to 1 over each molecule; the same result whatever the order of instances and whatever else is
    in the batch; a bag of one; zeros for an empty bag; finite gradients that reach every parameter.
    """
    contract = _Contract("aggregator")
    part = _built(contract, builder, dim, n_heads, 0.0, n_tasks)
    sizes = torch.tensor([3, 1, 0, 5, 2])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    segment = torch.repeat_interleave(torch.arange(5), sizes)
    tokens = _rows(11, dim).requires_grad_()
    pooled, attention = part(tokens, offsets, segment)
    contract.demand(
        pooled.shape == (5, n_tasks, dim), f"pooled is {tuple(pooled.shape)}, not [B, T, D] = (5, {n_tasks}, {dim})"
    )
    contract.demand(attention.shape == (11, n_tasks), f"attention is {tuple(attention.shape)}, not [R, T] = (11, {n_tasks})")
    if contract.broken:
        contract.close()
    sums = torch.zeros(5, n_tasks).index_add(0, segment, attention.float())
    contract.demand(
        _close(sums, (sizes > 0).float().unsqueeze(1).expand(-1, n_tasks)), "attention does not sum to 1 over a molecule"
    )
    contract.demand(bool((attention >= 0).all()), "attention is negative somewhere")
    contract.demand(bool((pooled[2] == 0).all()), "an empty bag is not pooled to zeros")
    contract.demand(bool(torch.isfinite(pooled).all()), "pooled is not finite")
    order = torch.tensor([2, 0, 1, 3, 8, 5, 4, 7, 6, 10, 9])
    shuffled, shuffled_attention = part(tokens[order], offsets, segment)
    contract.demand(_close(shuffled, pooled), "the order of instances changes the result")
    contract.demand(_close(shuffled_attention, attention[order]), "attention does not follow its instance")
    for b in (0, 1, 3):
        own = slice(int(offsets[b]), int(offsets[b + 1]))
        alone, _ = part(tokens[own], torch.tensor([0, int(sizes[b])]), torch.zeros(int(sizes[b]), dtype=torch.int64))
        contract.demand(_close(alone[0], pooled[b]), f"a bag of {int(sizes[b])} changes with what else is in the batch")
    _demand_gradients(contract, part, pooled)
    contract.demand(tokens.grad is not None and bool(tokens.grad.abs().sum() > 0), "no gradient reaches the tokens")
    contract.close()


def check_embedder(builder: Callable[..., nn.Module], *, input_dim: int = 24, hidden_dim: int = 32) -> None:
    """Raise a ConfigError that names every broken promise of an embedder.

    [n, input_dim] -> [n, hidden_dim]; no row sees another (so order, padding and batch cannot matter); gradients reach every
    parameter.
    """
    contract = _Contract("embedder")
    part = _built(contract, builder, input_dim, hidden_dim, 2, 0.0, "SiLU")
    x = _rows(7, input_dim)
    out = part(x)
    contract.demand(out.shape == (7, hidden_dim), f"output is {tuple(out.shape)}, not (7, {hidden_dim})")
    if not contract.broken:
        contract.demand(_close(part(x[[4]]), out[[4]]), "a row changes with what else is in the batch")
        contract.demand(_close(part(x.flip(0)), out.flip(0)), "the order of rows changes the result")
        contract.demand(part(x[:0]).shape == (0, hidden_dim), "no rows do not give no rows")
        _demand_gradients(contract, part, out)
    contract.close()


def check_predictor(builder: Callable[..., nn.Module], *, in_dim: int = 32, count: int = 3) -> None:
    """Raise a ConfigError that names every broken promise of a predictor.

    [B, count, in_dim] -> [B, count]; head k reads x[:, k] alone; no molecule sees another; gradients reach every parameter.
    """
    contract = _Contract("predictor")
    part = _built(contract, builder, in_dim, count, "SiLU", 2, 0.0, 0.0, 1e-2)
    x = _rows(6, count, in_dim)
    out = part(x)
    contract.demand(out.shape == (6, count), f"output is {tuple(out.shape)}, not [B, count] = (6, {count})")
    if not contract.broken:
        contract.demand(_close(part(x[[2]]), out[[2]]), "a molecule changes with what else is in the batch")
        other = x.clone()
        other[:, 1] = _rows(6, in_dim, seed=2)
        changed = (part(other) - out).abs().amax(0) > _TOLERANCE
        contract.demand(changed.tolist() == [k == 1 for k in range(count)], "a head reads another head's input, or not its own")
        _demand_gradients(contract, part, out)
    contract.close()
