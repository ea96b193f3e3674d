"""One fold of a store, trained with the given hyperparameters: how an idea is tried before a study pays for all folds.

    .venv/bin/python benchmarks/one_fold.py STORE --epochs 10 --conformers 0 --scaling signed_log --clip 3 --fix lr=0.001 …

A line an epoch: training loss, macro AP and the AP of each endpoint on the fold's validation molecules.
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--features2d", nargs="*", default=())
    parser.add_argument("--features3d", nargs="*", default=())
    parser.add_argument("--conformers", type=int)
    parser.add_argument("--scaling", default="standard")
    parser.add_argument("--clip", type=float, default=0.0)
    parser.add_argument("--fix", nargs="*", default=(), help="hyperparameters, NAME=VALUE")
    asked = parser.parse_args()

    import torch

    from milbench.configs import HPOConfig, RuntimeConfig, checked_pins
    from milbench.data.choice import choose
    from milbench.data.cv import MILCVData
    from milbench.data.manifest import store_tasks
    from milbench.data.store import load_store
    from milbench.features import FeatureChoice, Scaling
    from milbench.flags import assigned
    from milbench.training.fold import Epoch, MILFoldTrainer

    torch.set_num_threads(asked.threads or torch.get_num_threads())
    tasks = store_tasks(asked.store)
    bags, _ = load_store(asked.store)
    bags = choose(bags, FeatureChoice(tuple(asked.features2d), tuple(asked.features3d), asked.conformers))
    data = MILCVData(bags, bags.fold, tasks, scaling=Scaling(asked.scaling, asked.clip))
    runtime = RuntimeConfig(precision=asked.precision, seed=asked.seed)
    config = HPOConfig.from_params(checked_pins(assigned(asked.fix, "--fix"), tasks), tasks, runtime=runtime)

    def tell(epoch: Epoch) -> None:
        scores = " ".join(f"{ap:.4f}" for ap in epoch.metrics.ap)
        sys.stdout.write(f"{epoch.number:3d}  loss {epoch.train_loss:.4f}  macro AP {epoch.metrics.macro_ap:.4f}  {scores}\n")
        sys.stdout.flush()

    result = MILFoldTrainer(tasks, asked.epochs, asked.epochs).train(data.fold(asked.fold), config, tell)
    sys.stdout.write(f"best: epoch {result.best_epoch}, macro AP {result.metrics.macro_ap:.4f}, {result.seconds:.0f} s\n")


if __name__ == "__main__":
    main()
