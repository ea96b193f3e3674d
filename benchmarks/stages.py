"""Where a training epoch's time goes, and how far that is from what this machine's arithmetic and memory allow.

    .venv/bin/python benchmarks/stages.py [--write]

One thread and CPU seconds, so that a busy machine matters little. The floor: the step's multiplications at the speed of the
fastest product measured here, and the bytes that all other operations read and write at the speed of a copy.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import machine, write_section  # noqa: E402
from synthetic import config_of, synthetic_bags  # noqa: E402

from milbench.configs import HPOConfig  # noqa: E402
from milbench.data.cv import MILCVData  # noqa: E402
from milbench.metrics import evaluate  # noqa: E402
from milbench.models import MILModelBuilder  # noqa: E402
from milbench.training.fold import MILFoldTrainer  # noqa: E402
from milbench.training.memory import keep_freed_memory  # noqa: E402
from milbench.training.trainer import eval_loader  # noqa: E402

FIRST = {"mm": 0, "bmm": 0, "_linear_pointwise": 0, "addmm": 1, "baddbmm": 1}  # where the left factor is among the arguments
KINDS = {  # of operations, by how their names begin; all others go element by element
    "products": tuple(FIRST),
    "LayerNorm": ("native_layer_norm",),
    "sums": ("sum",),
    "gathering and pooling": ("index", "_embedding_bag", "segment_reduce", "_segment_reduce", "sort", "searchsorted"),
}
ABOUT = """## A training epoch by stage, and the floor beneath it

{molecules:,} molecules of 1-40 conformers (mean 10), 4 of 5 folds train, one validates; batches of 256, one thread, CPU
seconds, medians of {rounds} epochs. Lightning and the rest: an epoch of `MILFoldTrainer` less the stages. Floor of a step: its
products at the fastest product found here, and what its other operations read and write at the speed of a copy of 10 MiB."""


@dataclass
class Counted(TorchDispatchMode):
    """Counts what is computed under it: FLOP of products, bytes that all others read and write, CPU seconds by kind."""

    flop: float = 0.0
    moved: float = 0.0
    calls: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.process_time()
        out = func(*args, **(kwargs or {}))
        took, name = time.process_time() - start, func.overloadpacket.__name__
        if func.is_view or "empty" in name:
            return out
        self.calls += 1
        self.seconds[kind_of(name)] += took
        if name in FIRST:
            self.flop += 2 * out.numel() * args[FIRST[name]].shape[-1]
        else:
            tensors = {id(x): x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)}
            self.moved += sum(x.numel() * x.element_size() for x in tensors.values())
        return out


def kind_of(name: str) -> str:
    """The kind of an operation."""
    return next((kind for kind, begins in KINDS.items() if name.startswith(begins)), "element by element")


def fastest(call: Callable[[], object], times: int = 7) -> float:
    """CPU seconds of the fastest of some calls."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def ceilings() -> tuple[float, float, float]:
    """Products a second (FLOP/s), bytes a second of a copy in cache and in memory; reads and writes both count."""
    n = 2048
    a, b = torch.randn(n, n), torch.randn(n, n)
    square = 2 * n**3 / fastest(lambda: a @ b)
    x, w = torch.randn(2560, 256), torch.randn(1024, 256)
    flat = 0.0
    if torch.backends.mkldnn.is_available():
        flop = 2 * 2560 * 256 * 1024
        flat = flop / fastest(lambda: torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], ""), 31)
    copies = []
    for mib in (10, 256):
        source = torch.ones(mib << 18)
        target = torch.zeros_like(source)
        copies.append(2 * source.nbytes / fastest(lambda s=source, t=target: t.copy_(s), 31 if mib == 10 else 7))
    return max(square, flat), copies[0], copies[1]


class Stages:
    """CPU seconds of named stages, epoch by epoch."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        out = call()
        self.seconds[name][-1] += time.process_time() - start
        return out

    def epoch(self, *names: str) -> None:
        for name in names:
            self.seconds[name].append(0.0)


def staged(data: MILCVData, config: HPOConfig, rounds: int) -> tuple[Stages, list[Counted], int]:
    """Train some epochs stage by stage as `MILModule` does; the stages, what some steps compute, and steps an epoch."""
    fold, o = data.fold(0), config.optimization
    targets, sampler = fold.targets(config.loss), fold.sampler(config)
    model, stages, counted = MILModelBuilder().build(config, fold), Stages(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=o.lr, weight_decay=o.weight_decay, fused=True)
    for epoch in range(rounds + 1):
        stages.epoch("sampler", "gather", "forward", "backward", "optimizer", "validation")
        sampler.set_epoch(epoch)
        for number, index in enumerate(stages.time("sampler", lambda: list(sampler)), start=1):
            batch = stages.time("gather", lambda i=index: fold.batch(i, targets))
            loss = stages.time("forward", lambda b=batch: model.loss(b).total / o.accumulate_grad_batches)
            stages.time("backward", loss.backward)
            if number % o.accumulate_grad_batches == 0 or number == len(sampler):
                stages.time("optimizer", lambda: (optimizer.step(), optimizer.zero_grad()))
        stages.time("validation", lambda: validated(data, config, model))
    for index in list(sampler)[:5]:
        batch = fold.batch(index, targets)
        with Counted() as one:
            model.loss(batch).total.backward()
        counted.append(one)
    return stages, counted, len(sampler)


def validated(data: MILCVData, config: HPOConfig, model: Any) -> None:
    """Logits and scores of the validation molecules."""
    fold = data.fold(0)
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model.predict(batch)[0] for batch in eval_loader(fold, fold.val, config.runtime)])
    model.train()
    raw = data.bags.raw
    evaluate(raw.y[fold.val], logits.numpy(), raw.w[fold.val], data.tasks)


def whole_epochs(data: MILCVData, config: HPOConfig, rounds: int) -> float:
    """CPU seconds of an epoch of the library's trainer, the median after one that is not counted."""
    moments: list[float] = []
    trainer = MILFoldTrainer(data.tasks, rounds + 1, rounds + 1)
    trainer.train(data.fold(0), config, lambda _: moments.append(time.process_time()))
    return float(np.median(np.diff(moments)))


def measured(hidden: int, options: argparse.Namespace, limits: tuple[float, float, float]) -> list[str]:
    """Tables of one width."""
    config, bags = config_of(hidden, 256), synthetic_bags(options.molecules)
    data = MILCVData(bags, bags.fold)
    stages, counted, steps = staged(data, config, options.rounds)
    seconds = {name: float(np.median(values[1:])) for name, values in stages.seconds.items()}
    whole = whole_epochs(data, config, options.rounds)
    seconds["Lightning and the rest"] = whole - sum(seconds.values())
    lines = [
        "",
        f"Hidden {hidden}, an epoch of {steps} steps: {whole:.2f} s.",
        "",
        "| stage | seconds | share |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {value:.3f} | {value / whole:.1%} |" for name, value in seconds.items()]
    return [*lines, "", *floor(counted, (seconds["forward"] + seconds["backward"]) / steps, limits)]


def floor(counted: list[Counted], step: float, limits: tuple[float, float, float]) -> list[str]:
    """What forward and backward of a step compute and move, the floor from the ceilings, and where the time goes."""
    flop, moved = (float(np.mean([getattr(one, name) for one in counted])) for name in ("flop", "moved"))
    kinds = {kind: float(np.median([one.seconds[kind] for one in counted])) for kind in (*KINDS, "element by element")}
    kinds["random masks, autograd, Python"] = step - sum(kinds.values())
    products, others = flop / limits[0], moved / limits[1]
    rest = step - products - others
    return [
        f"Forward and backward of a step: {step:.3f} s, {counted[0].calls} operations.",
        "",
        "| where it goes | seconds | share |",
        "|---|---|---|",
        *(f"| {kind} | {seconds:.3f} | {seconds / step:.0%} |" for kind, seconds in kinds.items()),
        "",
        "| what it needs | amount | at the ceiling | share |",
        "|---|---|---|---|",
        f"| products | {flop / 1e9:.1f} GFLOP | {products:.3f} s | {products / step:.0%} |",
        f"| memory traffic of all others | {moved / 1e6:.0f} MB | {others:.3f} s | {others / step:.0%} |",
        f"| neither | | {rest:.3f} s | {rest / step:.0%} |",
        "",
        f"Products run at {flop / kinds['products'] / 1e9:.0f} GFLOP/s; from the floor: {step / (products + others):.2f} ×.",
    ]


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=3_000)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    limits = ceilings()
    command = f"`{' '.join(['.venv/bin/python', 'benchmarks/stages.py', *sys.argv[1:]])}`"
    lines = [ABOUT.format(molecules=options.molecules, rounds=options.rounds), "", command, ""]
    lines += [machine("1 thread", f"torch {torch.__version__}"), ""]
    lines.append(
        f"Ceilings of a core: {limits[0] / 1e9:.0f} GFLOP/s of products; copies {limits[1] / 1e9:.0f} GB/s in cache (10 MiB), "
        f"{limits[2] / 1e9:.0f} GB/s in memory (256 MiB), reads and writes counted."
    )
    for hidden in options.hidden:
        lines += measured(hidden, options, limits)
    sys.stdout.write("\n".join(lines) + "\n")
    if options.write:
        write_section("stages.py", "\n".join(lines))


if __name__ == "__main__":
    main()
