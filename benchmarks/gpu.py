"""Training at the size of EUOS25 (69,000 molecules × 10 conformers × 256 features) on a GPU, against the padded reference.

    .venv/bin/python benchmarks/gpu.py [--write]                              # needs a CUDA device
    .venv/bin/python benchmarks/gpu.py --device cpu --molecules 2000 --hidden 32 --epochs 2 --steps 3     # the same code here

Prints a fold's steps a second, kernel launches a step, the share of this machine's matrix-product and copy ceilings, seconds of
an epoch, and seconds of a whole trial of 5 folds, trained together.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `milbench` does: read when torch loads, kind to a busy machine

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import machine, write_section  # noqa: E402
from sides import Side, ceilings, launches, one_by_one, padded, seconds, together, work_of  # noqa: E402
from synthetic import FOLDS, config_of, synthetic_bags  # noqa: E402

from milbench.configs import HPOConfig  # noqa: E402
from milbench.data.cv import FoldData, MILCVData  # noqa: E402
from milbench.tasks import EUOS25  # noqa: E402
from milbench.training.fold import MILFoldTrainer  # noqa: E402
from milbench.training.together import FoldsTrainer  # noqa: E402

ABOUT = f"""## A GPU at the size of EUOS25

Step: one batch of one fold: batch, forward, loss, backward and AdamW in training mode, with all dropouts; folds together take
{FOLDS} at once. Launches: kernels of one fold's step (on a CPU: operators). Products: floating-point operations of the matrix
products over the time, as a share of the best that a large square product reached here in the same precision. Traffic: bytes
that all operators read and write, as a share of the best copy. Epoch: training batches of one fold, from the mean step.
Trial: all of {FOLDS} folds trained together to their last epoch with validation, scores and best weights, as a study does
it; ≈ where fewer epochs were trained than a trial has."""
HEAD = (
    "| | hidden | steps/s of a fold | launches | products | traffic | epoch of a fold | trial of "
    f"{FOLDS} folds × 50 epochs |\n" + "|---" * 8 + "|"
)
EPOCHS = 50


def row(side: Side, hidden: int, options: argparse.Namespace, best: tuple[float, float], trial: str = "") -> str:
    """One side's figures."""
    device = torch.device(options.device)
    taken = seconds(side.step, device, options.steps)
    work, launched = work_of(side.step), launches(side.step, device)
    shares = [amount / taken / ceiling for amount, ceiling in zip((work.flops, work.bytes), best, strict=True)]
    counted = (launched if launched is not None else work.operators) / side.folds
    figures = f"{side.folds / taken:,.1f} | {counted:,.0f} | {shares[0]:.1%} | {shares[1]:.1%}"
    return f"| {side.name} | {hidden} | {figures} | {side.length * taken / side.folds:.2f} s | {trial} |"


def trial_seconds(folds: list[FoldData], config: HPOConfig, epochs: int) -> str:
    """A whole trial, trained; from `epochs` epochs where they are fewer than it has."""
    results = FoldsTrainer(MILFoldTrainer(EUOS25, epochs, epochs)).train(folds, config)
    taken = sum(result.seconds for result in results)
    return f"{taken:.0f} s" if epochs == EPOCHS else f"≈ {taken * EPOCHS / epochs:.0f} s"


def compare(hidden: int, options: argparse.Namespace, best: tuple[float, float]) -> list[str]:
    """Rows of one width."""
    config = config_of(hidden, options.batch)
    accelerator = "gpu" if options.device.startswith("cuda") else "cpu"
    runtime = dataclasses.replace(config.runtime, accelerator=accelerator, precision=options.precision)
    config = dataclasses.replace(config, runtime=runtime)
    bags, device = synthetic_bags(options.molecules), torch.device(options.device)
    data = MILCVData(bags, bags.fold)
    folds = [data.fold(k) for k in range(data.n_folds)]
    return [
        row(padded(folds[0], config, device, options.workers), hidden, options, best),
        row(one_by_one(folds[:1], config, device), hidden, options, best),
        row(together(folds, config, device), hidden, options, best, trial_seconds(folds, config, options.epochs)),
    ]


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--molecules", type=int, default=69_000)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", default="bf16-mixed", help="bf16-mixed or 32-true")
    parser.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes of the reference's DataLoader"
    )
    parser.add_argument("--steps", type=int, default=50, help="timed steps of each side")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs of the trial that are trained")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu --molecules 2000 runs the same code on the processor")
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    best = ceilings(device, options.precision)
    about = machine(name, f"torch {torch.__version__}", options.precision)
    measured = f"Ceilings: {best[0] / 1e12:.2f} TFLOP/s in products, {best[1] / 1e9:.0f} GB/s copied."
    command = f"`{' '.join(['.venv/bin/python', 'benchmarks/gpu.py', *sys.argv[1:]])}`"
    lines = [ABOUT, "", command, "", f"{about}. {measured}", "", HEAD]
    print("\n".join(lines), flush=True)
    for hidden in options.hidden:
        lines += compare(hidden, options, best)
        print("\n".join(lines[-3:]), flush=True)
    if options.write:
        write_section("gpu.py", "\n".join(lines))


if __name__ == "__main__":
    main()
