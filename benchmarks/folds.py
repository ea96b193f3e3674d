"""Times a step of all folds of a trial, one by one against together, in turns, on synthetic bags.

.venv/bin/python benchmarks/folds.py [--device cuda] [--write]
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `milbench` does: read when torch loads, kind to a busy machine

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import machine, write_section  # noqa: E402
from sides import one_by_one, seconds, together  # noqa: E402
from synthetic import config_of, synthetic_bags  # noqa: E402

from milbench.data.cv import MILCVData  # noqa: E402

ABOUT = """## Folds one by one against together

Step: one batch of each of the 5 folds: batch, forward, loss, backward and AdamW in training mode, with all dropouts. The two
take turns. Ratio: one by one / together, of medians (smallest-largest over the turns); above 1, together is faster.
`--parallel_folds auto` trains folds together on a GPU alone."""
HEAD = "| molecules | hidden | batch | one by one | together | ratio (turns) |\n" + "|---" * 6 + "|"


def compare(hidden: int, batch: int, options: argparse.Namespace) -> str:
    """One row of the table."""
    config = config_of(hidden, batch)
    config = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, precision=options.precision))
    bags, device = synthetic_bags(options.molecules), torch.device(options.device)
    data = MILCVData(bags, bags.fold)
    folds = [data.fold(k) for k in range(data.n_folds)]
    sides = [make(folds, config, device) for make in (one_by_one, together)]
    turns = np.array([[seconds(side.step, device, options.steps) for side in sides] for _ in range(options.rounds)])
    alone, both = np.median(turns, axis=0)
    ratio = turns[:, 0] / turns[:, 1]
    figures = f"{alone * 1e3:.1f} ms | {both * 1e3:.1f} ms | **{alone / both:.2f}** ({ratio.min():.2f}-{ratio.max():.2f})"
    return f"| {options.molecules:,} | {hidden} | {batch} | {figures} |"


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--molecules", type=int, default=4_000)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--precision", default="32-true", help="32-true or bf16-mixed")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    command = f"`{' '.join(['.venv/bin/python', 'benchmarks/folds.py', *sys.argv[1:]])}`"
    about = machine(f"torch {torch.__version__}", f"{torch.get_num_threads()} threads")
    lines = [ABOUT, "", command, "", about, "", HEAD]
    print("\n".join(lines), flush=True)
    for hidden in options.hidden:
        for batch in options.batch:
            lines.append(compare(hidden, batch, options))
            print(lines[-1], flush=True)
    if options.write:
        write_section("folds.py", "\n".join(lines))


if __name__ == "__main__":
    main()
