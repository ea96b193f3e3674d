"""A whole training epoch with its validation, milbench against the padded reference, each in a process of its own.

    .venv/bin/python benchmarks/epoch.py [--bags long-tailed] [--precision P] [--reference-precision P] [--write]

milbench trains through `MILFoldTrainer`, as a study does. The reference is the loop that one would write: DataLoader, padded
batches, AdamW, validation without gradients, scores by the same functions. Both sample, accumulate and drop out alike. The two
take turns of an epoch each, so that whatever else the machine does meets both.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import machine, write_section  # noqa: E402

from milbench.training.memory import process_peak_mb  # noqa: E402

SIDES = ("milbench", "reference")
ABOUT = """## A training epoch with validation against the padded reference ({bags})

{molecules:,} molecules (mean bag 10), 4 of 5 folds train, one validates; batches of 256; milbench through `MILFoldTrainer`.
milbench in {precision}, the reference in {reference_precision}. Each in a process of its own, which take turns of one epoch;
the first is not counted. Ratio: reference / milbench, median of the turns (smallest-largest). CPU: seconds of all threads.
Memory: largest resident size of the process, what it had before the data were made taken off."""
HEAD = (
    "| hidden | epoch, milbench | reference | ratio | CPU, milbench / reference: ratio | memory, milbench / reference: ratio |"
)


@dataclasses.dataclass(frozen=True)
class Given:
    """What one process trains on."""

    side: str
    hidden: int
    molecules: int
    bags: str
    threads: int
    precision: str


class Turns:
    """The worker's end: waits for its turn, and tells what the epoch took."""

    def __init__(self, before: float) -> None:
        self.before = before
        self.wait()

    def wait(self) -> None:
        sys.stdin.readline()
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def done(self, _: object = None) -> None:
        seconds, cpu = time.perf_counter() - self.start, time.process_time() - self.cpu
        sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu, "mib": process_peak_mb() - self.before}) + "\n")
        sys.stdout.flush()
        self.wait()


def worker(given: Given) -> None:
    """Train epochs for ever, one a line of input."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `milbench` does: read when torch loads, kind to a busy machine
    import torch
    from synthetic import config_of, synthetic_bags

    from milbench.data.cv import MILCVData
    from milbench.training import fold as _loaded  # noqa: F401  (Lightning is there before memory is looked at)

    torch.set_num_threads(given.threads)
    before = process_peak_mb()
    bags = synthetic_bags(given.molecules, kind=given.bags)
    data = MILCVData(bags, bags.fold)
    train: Callable[..., None] = train_milbench if given.side == "milbench" else train_reference
    config = config_of(given.hidden, 256)
    runtime = dataclasses.replace(config.runtime, precision=given.precision)
    train(data, dataclasses.replace(config, runtime=runtime), Turns(before))


def train_milbench(data, config, turns: Turns) -> None:
    """The library's own trainer; the hook is called after each epoch's validation."""
    from milbench.training.fold import MILFoldTrainer

    MILFoldTrainer(data.tasks, 10_000, 10_000).train(data.fold(0), config, turns.done)


def train_reference(data, config, turns: Turns) -> None:
    """The padded loop."""
    import torch
    from padded_reference import MoleculeDataset, PaddedObjective, pad_collate, padded_twin
    from sides import mixed

    from milbench.metrics import evaluate
    from milbench.models import MILModelBuilder

    fold, o = data.fold(0), config.optimization
    dataset = MoleculeDataset(fold, fold.targets(config.loss))
    sampler, model = fold.sampler(config), MILModelBuilder().build(config, fold)
    twin, objective = padded_twin(model), PaddedObjective(model)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=o.lr, weight_decay=o.weight_decay)
    precision = mixed(torch.device("cpu"), config.runtime.precision)
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=Lists(sampler), collate_fn=pad_collate)
    validation = torch.utils.data.Subset(dataset, fold.val.tolist())
    val_loader = torch.utils.data.DataLoader(validation, batch_size=256, collate_fn=pad_collate)
    for epoch in range(10_000):
        sampler.set_epoch(epoch)
        twin.train()
        for number, batch in enumerate(loader, start=1):
            with precision:
                loss = objective(twin(*batch[:3]), batch.targets)
            (loss / o.accumulate_grad_batches).backward()
            if number % o.accumulate_grad_batches == 0 or number == len(sampler):
                optimizer.step()
                optimizer.zero_grad()
        twin.eval()
        with torch.no_grad(), precision:
            logits = torch.cat([twin(*batch[:3])[0] for batch in val_loader]).float()
        raw, rows = data.bags.raw, fold.val
        turns.done(evaluate(raw.y[rows], logits.numpy(), raw.w[rows], data.tasks))


class Lists:
    """A sampler of index tensors as one of lists, which a DataLoader's batch_sampler has to be."""

    def __init__(self, sampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self):
        return (index.tolist() for index in self.sampler)


def compare(hidden: int, options: argparse.Namespace) -> str:
    """A row: both processes, in turns."""
    given = hidden, options.molecules, options.bags, options.threads
    precision = dict(zip(SIDES, (options.precision, options.reference_precision), strict=True))
    processes = {side: start(Given(side, *given, precision[side])) for side in SIDES}
    told: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds + 1):
        for side, process in processes.items():
            told[side].append(turn(process))
    for process in processes.values():
        process.kill()
        process.wait()
    return row(hidden, {side: all_turns[1:] for side, all_turns in told.items()})


def start(given: Given) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", json.dumps(dataclasses.asdict(given))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def turn(process: subprocess.Popen[str]) -> dict[str, float]:
    """One epoch of a worker."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit(f"a worker ended with status {process.wait()}")
    return json.loads(line)


def row(hidden: int, told: dict[str, list[dict[str, float]]]) -> str:
    """The table's line."""
    (ours, theirs), (cpu, their_cpu) = (
        [np.array([t[key] for t in told[side]]) for side in SIDES] for key in ("seconds", "cpu")
    )
    memory, their_memory = (told[side][-1]["mib"] for side in SIDES)
    ratios, cpu_ratios = theirs / ours, their_cpu / cpu
    return (
        f"| {hidden} | {np.median(ours):.2f} s | {np.median(theirs):.2f} s "
        f"| **{np.median(ratios):.2f}** ({ratios.min():.2f}-{ratios.max():.2f}) "
        f"| {np.median(cpu):.2f} / {np.median(their_cpu):.2f} s: **{np.median(cpu_ratios):.2f}** "
        f"({cpu_ratios.min():.2f}-{cpu_ratios.max():.2f}) "
        f"| {memory:.0f} / {their_memory:.0f} MiB: {their_memory / memory:.1f} |"
    )


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--bags", default="1-40", choices=["1-40", "long-tailed"])
    for flag in ("--precision", "--reference-precision"):
        parser.add_argument(flag, default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--molecules", type=int, default=3_000)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each side that count")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    if options.worker:
        worker(Given(**json.loads(options.worker)))
        return
    import torch

    about = machine(f"{options.threads} threads", f"torch {torch.__version__}", f"load {os.getloadavg()[0]:.1f}")
    command = f"`{' '.join(['.venv/bin/python', 'benchmarks/epoch.py', *sys.argv[1:]])}`"
    lines = [
        ABOUT.format(**vars(options)),
        "",
        command,
        "",
        about,
        "",
        HEAD,
        "|---" * 6 + "|",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    for hidden in options.hidden:
        lines.append(compare(hidden, options))
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    if options.write:
        write_section(f"epoch.py {options.bags} {options.precision} {options.reference_precision}", "\n".join(lines))


if __name__ == "__main__":
    main()
