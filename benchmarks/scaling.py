"""How a training step's time and memory grow: with molecules, with the size and skew of bags, with endpoints.

    .venv/bin/python benchmarks/scaling.py [--write]

Hidden 128, default hyperparameters, one thread, CPU seconds, so that a busy machine matters little. Each data set lives in a
process of its own. The reference is that of `step.py`, on the same molecules.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `milbench` does

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import machine, write_section  # noqa: E402
from step import Side, milbench_side, reference_side  # noqa: E402
from synthetic import config_of, synthetic_bags, tasks_of  # noqa: E402

from milbench.data.cv import MILCVData  # noqa: E402
from milbench.models import MILModelBuilder  # noqa: E402
from milbench.training.memory import keep_freed_memory, process_peak_mb  # noqa: E402

ABOUT = """## How a step grows with molecules, bags and endpoints

Hidden 128, one thread, CPU seconds of a whole step (batch, forward, loss, backward, AdamW), the median of several. Rows a step:
conformers in a batch, the mean. Kept: what a step keeps for its backward pass. Peak: largest resident size of a process that
holds the data and trains, without what its libraries take."""
MOLECULES = (2_000, 8_000, 32_000, 128_000)
SIZES = ((512, "10"), (128, "40"), (32, "160"), (5, "1000"))  # batch, conformers of each molecule: about 5,120 rows a step
SKEWS = ("10", "1-40", "long-tailed")
TASKS = (1, 4, 16, 32)


def worker(molecules: int, batch: int, bags: str, n_tasks: int, times: int, reference: bool) -> dict[str, float]:
    """Steps of one data set: seconds of a step, rows a step, memory, and the same of the reference."""
    torch.set_num_threads(1)
    keep_freed_memory()
    before, tasks = process_peak_mb(), tasks_of(n_tasks)
    config, data_bags = config_of(128, batch, tasks), synthetic_bags(molecules, kind=bags, n_tasks=n_tasks)
    fold = MILCVData(data_bags, data_bags.fold, tasks).fold(0)
    targets = fold.targets(config.loss)
    model = MILModelBuilder().build(config, fold)
    arrays = sum(x.nbytes for x in (data_bags.x2d, data_bags.xinst, data_bags.offsets)) / 2**20
    drawn = data_bags.bag_sizes[np.concatenate([index.numpy() for index in fold.sampler(config)])]
    start = time.process_time()
    list(fold.sampler(config))
    out = {"sampler": time.process_time() - start, "rows": float(drawn.mean()) * batch, "arrays": arrays}
    ours = milbench_side(model, fold, config, targets)
    out |= {"step": median_step(ours, times), "peak": process_peak_mb() - before, "kept": ours.kept_mib()}
    if reference:
        theirs = reference_side(model, fold, config, targets)
        out |= {"reference": median_step(theirs, max(3, times // 3)), "reference_kept": theirs.kept_mib()}
    return out


def median_step(side: Side, times: int) -> float:
    """CPU seconds of a step, after two that are not counted."""
    seconds = []
    for _ in range(times + 2):
        start = time.process_time()
        side.step()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds[2:]))


def run(*given: object) -> dict[str, float]:
    """`worker` in a process of its own."""
    command = [sys.executable, __file__, "--worker", json.dumps(given)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def by_molecules(times: int) -> list[str]:
    """Step, sampler and memory of larger and larger data sets."""
    lines = ["| molecules | step | sampler, an epoch | arrays | peak | peak / arrays |", "|---" * 6 + "|"]
    for n in MOLECULES:
        r = run(n, 256, "1-40", 4, times, False)
        lines.append(
            f"| {n:,} | {r['step']:.3f} s | {1000 * r['sampler']:.1f} ms | {r['arrays']:,.0f} MiB | {r['peak']:,.0f} MiB "
            f"| {r['peak'] / r['arrays']:.2f} |"
        )
    return lines


def by_bags(times: int) -> list[str]:
    """Steps of about as many rows in bags of other sizes, and of the same mean with other skews; against the reference."""
    lines = [
        "| conformers each | batch | rows a step | step | of 1,000 rows | reference | ratio | kept, milbench / reference |"
    ]
    lines.append("|---" * 8 + "|")
    for batch, bags in (*SIZES, *((256, skew) for skew in SKEWS)):
        r = run(max(4 * batch, 400) if bags.isdigit() else 4_000, batch, bags, 4, times, True)
        lines.append(
            f"| {bags} | {batch} | {r['rows']:,.0f} | {r['step']:.3f} s | {1e6 * r['step'] / r['rows']:.1f} ms "
            f"| {r['reference']:.3f} s | **{r['reference'] / r['step']:.1f}** "
            f"| {r['kept']:.0f} / {r['reference_kept']:.0f} MiB: **{r['reference_kept'] / r['kept']:.1f}** |"
        )
    return lines


def by_tasks(times: int) -> list[str]:
    """Steps of more and more endpoints."""
    lines = ["| endpoints | step | reference | ratio |", "|---" * 4 + "|"]
    for n_tasks in TASKS:
        r = run(2_000, 256, "1-40", n_tasks, times, True)
        lines.append(f"| {n_tasks} | {r['step']:.3f} s | {r['reference']:.3f} s | **{r['reference'] / r['step']:.1f}** |")
    return lines


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=7, help="steps that count; of the reference a third")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    if options.worker:
        sys.stdout.write(json.dumps(worker(*json.loads(options.worker))))
        return
    command = f"`{' '.join(['.venv/bin/python', 'benchmarks/scaling.py', *sys.argv[1:]])}`"
    lines = [ABOUT, "", command, "", machine("1 thread", f"torch {torch.__version__}")]
    for table in (by_molecules, by_bags, by_tasks):
        lines += ["", *table(options.times)]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.write:
        write_section("scaling.py", "\n".join(lines))


if __name__ == "__main__":
    main()
