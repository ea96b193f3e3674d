"""Times a training step and an epoch of milbench against the padded reference, interleaved, on synthetic bags.

    .venv/bin/python benchmarks/step.py [--write]

A step is: build the batch, forward, loss, backward, optimizer. Both see the same molecules and start from the same weights.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `milbench` does: read when torch loads, kind to a busy machine

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from padded_reference import MoleculeDataset, PaddedBatch, PaddedObjective, pad_collate, padded_twin  # noqa: E402
from report import machine, write_section  # noqa: E402
from synthetic import FOLDS, config_of, synthetic_bags  # noqa: E402

from milbench.configs import HPOConfig  # noqa: E402
from milbench.data.bags import BagBatch  # noqa: E402
from milbench.data.cv import FoldData, MILCVData  # noqa: E402
from milbench.data.targets import Targets  # noqa: E402
from milbench.models import MILModelBuilder, MILTaskAttnMixerWithAux  # noqa: E402

TURN = 4
ABOUT = f"""## A training step against the padded reference

Step: batch, forward, loss, backward and AdamW in training mode, with all dropouts, on the same molecules from the same
weights, in one process. The two take turns of {TURN - 1} timed steps after an untimed one, which finds caches and allocator as
the other left them. Ratio: reference / milbench, of medians (smallest-largest over the turns; of the fastest steps). Epoch:
the training molecules of one of {FOLDS} folds, from the mean step; ≈ where fewer steps were timed than an epoch has. Kept:
activations that a step keeps for its backward pass. Differences: eval mode, all weights moved off their initial values."""


@dataclass
class Side:
    """One of the two that are compared: where its batches come from, its loss, and its optimizer."""

    batches: Iterator[BagBatch | PaddedBatch]
    loss: Callable[[BagBatch | PaddedBatch], Tensor]
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def step(self) -> float:
        """One training step, in seconds."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.loss(next(self.batches)).backward()
        self.optimizer.step()
        return time.perf_counter() - start

    def kept_mib(self) -> float:
        """Memory that one forward pass keeps for the backward pass besides the parameters, in MiB."""
        owned = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        kept: dict[int, int] = {}

        def note(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in owned:
                kept[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            loss = self.loss(next(self.batches))
        loss.backward()
        return sum(kept.values()) / 2**20


def milbench_side(model: MILTaskAttnMixerWithAux, fold: FoldData, config: HPOConfig, targets: Targets) -> Side:
    """milbench's own path: sampler, one gather a batch, ragged model, fused AdamW."""
    sampler = fold.sampler(config)
    o = config.optimization
    optimizer = torch.optim.AdamW(model.parameters(), lr=o.lr, weight_decay=o.weight_decay, fused=True)
    batches = (fold.batch(index, targets) for index in _epochs(sampler))
    return Side(batches, lambda batch: model.loss(batch).total, model, optimizer)  # type: ignore[arg-type]


def reference_side(model: MILTaskAttnMixerWithAux, fold: FoldData, config: HPOConfig, targets: Targets) -> Side:
    """The padded reference on the same molecules: Dataset, DataLoader, collate, default AdamW."""
    twin, objective, o = padded_twin(model), PaddedObjective(model), config.optimization
    index_lists = (index.tolist() for index in _epochs(fold.sampler(config)))
    loader = torch.utils.data.DataLoader(
        MoleculeDataset(fold, targets),
        batch_sampler=index_lists,  # type: ignore[arg-type]
        collate_fn=pad_collate,
    )
    optimizer = torch.optim.AdamW(twin.parameters(), lr=o.lr, weight_decay=o.weight_decay)
    return Side(iter(loader), lambda batch: objective(twin(*batch[:3]), batch.targets), twin, optimizer)  # type: ignore


def _epochs(sampler: torch.utils.data.Sampler[Tensor]) -> Iterator[Tensor]:
    epoch = 0
    while True:
        sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from sampler
        epoch += 1


def largest_difference(model: MILTaskAttnMixerWithAux, fold: FoldData, targets: Targets) -> tuple[float, float]:
    """Largest |difference| between the two in eval mode, (logits, any output), over the first 256 validation molecules."""
    dtype = next(model.parameters()).dtype
    dataset = MoleculeDataset(fold, targets)
    batch = pad_collate([dataset[i] for i in fold.val[:256]])
    padded = batch.x2d.to(dtype), batch.x3d_pad.to(dtype), batch.kpm
    with torch.no_grad():
        ours = model.eval()(*padded, return_attn=True, return_bitmask=True)
        theirs = padded_twin(model).to(dtype).eval()(*padded)
    gaps = [(a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)]
    return gaps[0], max(gaps)


def trained_a_little(model: MILTaskAttnMixerWithAux) -> MILTaskAttnMixerWithAux:
    """A copy whose weights have left their initial zeros, so that every branch speaks."""
    model = copy.deepcopy(model)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    return model


@dataclass(frozen=True)
class Row:
    """What one size gives: seconds of each step, the epoch's number of steps, memory, and differences by dtype."""

    molecules: int
    hidden: int
    ours: list[float]
    theirs: list[float]
    n_batches: int
    kept: tuple[float, float]
    float32: tuple[float, float]
    float64: tuple[float, float]

    HEAD = (
        "| molecules | hidden | step, milbench | step, reference | ratio (turns; fastest) | epoch, milbench | epoch, reference "
        "| kept, milbench / reference | largest difference in logits (in any output), float32 | float64 |\n" + "|---" * 10 + "|"
    )

    def __str__(self) -> str:
        ours, theirs = (np.median(np.reshape(x, (-1, TURN - 1)), axis=1) for x in (self.ours, self.theirs))
        ratio = np.median(self.theirs) / np.median(self.ours)
        epochs = [self.n_batches * float(np.mean(x)) for x in (self.ours, self.theirs)]
        measured = "" if len(self.ours) >= self.n_batches else "≈ "
        return (
            f"| {self.molecules:,} | {self.hidden} | {np.median(self.ours):.3f} s | {np.median(self.theirs):.3f} s "
            f"| **{ratio:.2f}** ({min(theirs / ours):.2f}-{max(theirs / ours):.2f}; {min(self.theirs) / min(self.ours):.2f}) "
            f"| {measured}{epochs[0]:.1f} s | {measured}{epochs[1]:.1f} s | {self.kept[0]:.0f} / {self.kept[1]:.0f} MiB "
            f"| {self.float32[0]:.1e} ({self.float32[1]:.1e}) | {self.float64[0]:.1e} ({self.float64[1]:.1e}) |"
        )


def compare(n: int, hidden: int, options: argparse.Namespace) -> Row:
    """Time both sides at one size, in turns."""
    config = config_of(hidden, options.batch)
    bags = synthetic_bags(n)
    fold = MILCVData(bags, bags.fold).fold(0)
    targets = fold.targets(config.loss)
    model = MILModelBuilder().build(config, fold)
    moved = trained_a_little(model)
    float32, float64 = (largest_difference(m, fold, targets) for m in (moved, copy.deepcopy(moved).double()))
    sides = [make(model, fold, config, targets) for make in (reference_side, milbench_side)]
    kept = [side.kept_mib() for side in sides]
    times: list[list[float]] = [[], []]
    for _ in range(options.rounds):
        for side, seconds in zip(sides, times, strict=True):
            seconds += [side.step() for _ in range(TURN)][1:]
    return Row(n, hidden, times[1], times[0], len(fold.sampler(config)), (kept[1], kept[0]), float32, float64)


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, nargs="+", default=[4_000, 20_000])
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument(
        "--rounds", type=int, default=5, help=f"turns of each side: {TURN - 1} timed steps after an untimed one"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = machine(f"{torch.get_num_threads()} threads", f"torch {torch.__version__}")
    lines = [ABOUT, "", f"`{' '.join(['.venv/bin/python', 'benchmarks/step.py', *sys.argv[1:]])}`", "", about, "", Row.HEAD]
    print("\n".join(lines), flush=True)
    for n in options.molecules:
        for hidden in options.hidden:
            lines.append(str(compare(n, hidden, options)))
            print(lines[-1], flush=True)
    if options.write:
        write_section("step.py", "\n".join(lines))


if __name__ == "__main__":
    main()
