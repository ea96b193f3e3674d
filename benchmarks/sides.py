"""What `gpu.py` and `folds.py` compare: one step of some folds, one by one, together, and of the padded reference."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from padded_reference import MoleculeDataset, PaddedObjective, pad_collate, padded_twin
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from milbench.configs import HPOConfig
from milbench.data.cv import FoldData
from milbench.models import MILModelBuilder
from milbench.models.stacked import StackedModels
from milbench.training.folds_loader import folds_loaders
from milbench.training.resident import resident_loaders

Step = Callable[[], None]


@dataclass
class Side:
    """`step` trains `folds` folds by one batch each; an epoch of a fold has `length` batches."""

    name: str
    step: Step
    folds: int
    length: int


def endless(batches: Any, sampler: Any) -> Iterator[Any]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        yield from batches
        epoch += 1


def mixed(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Autocast as a training of this precision has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


def _adamw(parameters: Iterator[Tensor], config: HPOConfig, fused: bool) -> torch.optim.Optimizer:
    o = config.optimization
    return torch.optim.AdamW(parameters, lr=o.lr, weight_decay=o.weight_decay, fused=fused or None)


def one_by_one(folds: Sequence[FoldData], config: HPOConfig, device: torch.device) -> Side:
    """milbench, a fold after the other, arrays on the device."""
    steps = [_one(fold, config, device) for fold in folds]

    def step() -> None:
        for one in steps:
            one()

    name = "milbench, 1 fold" if len(folds) == 1 else f"milbench, {len(folds)} folds one by one"
    return Side(name, step, len(folds), len(folds[0].sampler(config)))


def _one(fold: FoldData, config: HPOConfig, device: torch.device) -> Step:
    model = MILModelBuilder().build(config, fold).to(device)
    loader = resident_loaders(fold, config, device)[0]
    batches, optimizer = endless(loader, loader.sampler), _adamw(model.parameters(), config, fused=True)

    def step() -> None:
        with mixed(device, config.runtime.precision):
            loss = model.loss(next(batches)).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def together(folds: Sequence[FoldData], config: HPOConfig, device: torch.device) -> Side:
    """milbench, all folds in one step, arrays on the device where they fit."""
    models = [MILModelBuilder().build(config, fold).to(device) for fold in folds]
    stack, loader = StackedModels(models), folds_loaders(folds, config, device)[0]
    optimizer = _adamw((p for model in models for p in model.parameters()), config, fused=True)
    batches, everyone = endless(loader, loader), range(len(folds))

    def step() -> None:
        with mixed(device, config.runtime.precision):
            losses = stack.losses(next(batches).to(device))
        losses.sum().backward()
        stack.hand_out(everyone)
        optimizer.step()
        stack.clear(everyone)

    return Side(f"milbench, {len(folds)} folds together", step, len(folds), len(loader))


def padded(fold: FoldData, config: HPOConfig, device: torch.device, workers: int) -> Side:
    """The padded reference: Dataset, DataLoader with workers, page-locked where there is a GPU, default AdamW."""
    model = MILModelBuilder().build(config, fold)
    twin, objective = padded_twin(model).to(device), PaddedObjective(model.to(device))
    sampler = fold.sampler(config)
    lists = (index.tolist() for index in endless(sampler, sampler))
    loader = torch.utils.data.DataLoader(
        MoleculeDataset(fold, fold.targets(config.loss)),
        batch_sampler=lists,  # type: ignore[arg-type]
        collate_fn=pad_collate,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    batches, optimizer = iter(loader), _adamw(twin.parameters(), config, fused=False)

    def step() -> None:
        batch = next(batches)
        x2d, x3d, kpm = (x.to(device, non_blocking=True) for x in batch[:3])
        with mixed(device, config.runtime.precision):
            loss = objective(twin(x2d, x3d, kpm), batch.targets.on(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Side(f"padded reference, 1 fold, {workers} workers", step, 1, len(sampler))


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(step: Step, device: torch.device, count: int) -> float:
    """Mean seconds of `count` steps, timed as one, after one that is not."""
    step()
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return (time.perf_counter() - start) / count


class Traffic(TorchDispatchMode):
    """Counts operators that compute, and the bytes of all that they read and write: the least traffic without any fusing."""

    def __init__(self) -> None:
        super().__init__()
        self.operators, self.bytes = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in {"detach", "empty", "empty_like", "_unsafe_view"}:
            tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.operators += 1
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return out


def _linear_pointwise(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    rows = 1
    for size in x[:-1]:
        rows *= size
    return 2 * rows * weight[0] * weight[1]


@dataclass(frozen=True)
class Work:
    """What one step of a side does: floating-point operations of its products, bytes, operators."""

    flops: int
    bytes: int
    operators: int


def work_of(step: Step) -> Work:
    """Count it in one step."""
    own = {torch.ops.mkldnn._linear_pointwise: _linear_pointwise} if hasattr(torch.ops.mkldnn, "_linear_pointwise") else {}
    with Traffic() as traffic, FlopCounterMode(display=False, custom_mapping=own) as flops:
        step()
    return Work(flops.get_total_flops(), traffic.bytes, traffic.operators)


def launches(step: Step, device: torch.device) -> int | None:
    """Kernels that one step launches on a GPU (a recorded graph is one launch); None elsewhere."""
    if device.type != "cuda":
        return None
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        step()
        wait(device)
    events = profile.key_averages()
    return sum(event.count for event in events if "LaunchKernel" in event.key or event.key == "cudaGraphLaunch")


def ceilings(device: torch.device, precision: str) -> tuple[float, float]:
    """This machine's best floating-point operations (square products, in the precision) and bytes copied, a second."""
    size, cells = (8192, 2**28) if device.type == "cuda" else (1024, 2**24)
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    a, x = torch.randn(size, size, device=device, dtype=dtype), torch.randn(cells, device=device)
    product, copied = torch.empty_like(a), torch.empty_like(x)

    def multiply() -> None:
        torch.mm(a, a, out=product)

    def copy() -> None:
        copied.copy_(x)

    fastest = [min(seconds(work, device, 3) for _ in range(3)) for work in (multiply, copy)]
    return 2 * size**3 / fastest[0], 2 * x.nbytes / fastest[1]
