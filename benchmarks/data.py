"""Loading tables and stores, drawing batches and exporting attention, against the same written in pandas and plain Python.

    .venv/bin/python benchmarks/data.py [--write]

The references are in `data_reference.py`. Both sides run in turns; CPU seconds, so that a busy machine matters little.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from data_reference import attention_rows, balanced_batches, load_molecules  # noqa: E402
from report import machine, write_section  # noqa: E402
from synthetic import F2, F3, config_of, synthetic_bags  # noqa: E402

from milbench.data.assemble import load_tables  # noqa: E402
from milbench.data.bags import BagData  # noqa: E402
from milbench.data.sampler import MultitaskBalancedBatchSampler  # noqa: E402
from milbench.data.store import load_store, save_store  # noqa: E402
from milbench.export import attention_table  # noqa: E402
from milbench.files import write_table  # noqa: E402
from milbench.tasks import EUOS25  # noqa: E402

Call = Callable[[], object]
ABOUT = f"""## Data in and out against pandas and plain Python

{{molecules:,}} molecules of 1-40 conformers (mean 10), {F2} 2D and {F3} conformer features in two instance tables. CPU seconds
of both, in turns; medians, and of their ratios the smallest and largest. Tables: Parquet to arrays, joined, checked and hashed;
reference: pandas, an object a molecule. Store: what was prepared, in memory; reference: the same tables. Sampler: the batches
of an epoch of {{molecules:,}} molecules; reference: the seed's steps, batch by batch. Attention: a row a conformer to Parquet;
reference: rows appended molecule by molecule from padded tensors."""
MEMORY = """import sys
from milbench.data.assemble import load_tables
from milbench.data.store import load_store
from milbench.training.memory import process_peak_mb
before = process_peak_mb()
kind, *paths = sys.argv[1:]
bags = load_tables(paths[0], paths[1], paths[2:]) if kind == "tables" else load_store(paths[0])[0]
arrays = (bags.x2d.nbytes + bags.xinst.nbytes + bags.offsets.nbytes) / 2**20
print(process_peak_mb() - before, arrays)
"""


def write_tables(bags: BagData, folder: Path) -> tuple[Path, ...]:
    """The data set as a labels table, a 2D table and two instance tables."""
    keys = {"ID": np.repeat(bags.ids, bags.bag_sizes), "conf_id": bags.conf_ids}
    half = F3 // 2
    labels = {"ID": bags.ids, "split": bags.split, "cv_fold": bags.fold}
    labels |= {endpoint.label: bags.raw.y[:, t] for t, endpoint in enumerate(EUOS25.endpoints)}
    labels |= {aux.column: bags.raw.abs[:, j] for j, aux in enumerate(EUOS25.aux_abs)}
    xinst = bags.xinst.numpy()
    tables = {
        "labels": pd.DataFrame(labels),
        "feat2d": pd.DataFrame({"ID": bags.ids} | dict(zip(bags.names2d, bags.x2d.numpy().T, strict=True))),
        "geometry": pd.DataFrame(keys | dict(zip(bags.names_inst[:half], xinst[:, :half].T, strict=True))),
        "qm": pd.DataFrame(
            keys | {"status": "ok", "error": ""} | dict(zip(bags.names_inst[half:], xinst[:, half:].T, strict=True))
        ),
    }
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table)
    return tuple(folder / f"{name}.parquet" for name in tables)


def in_turns(ours: Call, theirs: Call, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """CPU seconds of each, after one call that is not counted."""
    times: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for call, seconds in zip((ours, theirs), times, strict=True):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
    return np.array(times[0][1:]), np.array(times[1][1:])


def row(name: str, what: str, amount: int, times: tuple[np.ndarray, np.ndarray]) -> str:
    """A line: amount of `what` a second on both sides, and the ratio."""
    ours, theirs = times
    ratios = theirs / ours
    rates = [amount / float(np.median(seconds)) for seconds in times]
    return (
        f"| {name} | {np.median(ours):.3f} s | {np.median(theirs):.3f} s | {rates[0]:,.0f} / {rates[1]:,.0f} {what}/s "
        f"| **{np.median(ratios):.1f}** ({ratios.min():.1f}-{ratios.max():.1f}) |"
    )


def loading(bags: BagData, folder: Path, rounds: int) -> list[str]:
    """Rows of tables and stores."""
    labels, feat2d, *instances = write_tables(bags, folder)
    loaded = load_tables(labels, feat2d, instances)
    store = save_store(folder / "store", loaded, EUOS25, provenance={"made_by": "data.py"})

    def reference() -> object:
        return load_molecules(labels, feat2d, instances)

    n = len(bags)
    rows = [row("tables", "molecules", n, in_turns(lambda: load_tables(labels, feat2d, instances), reference, rounds))]
    rows.append(row("store", "molecules", n, in_turns(lambda: load_store(store), reference, rounds)))
    rows.append(row("store, mapped", "molecules", n, in_turns(lambda: load_store(store, mmap=True), reference, rounds)))
    return rows


def memory(bags: BagData, folder: Path) -> list[str]:
    """Peak of a process that loads, over its arrays."""
    folder.mkdir(exist_ok=True)
    tables, out = write_tables(bags, folder), []
    store = save_store(folder / "store_of_all", bags, EUOS25, provenance={"made_by": "data.py"})
    for kind, paths in (("tables", tables), ("store", (store,))):
        command = [sys.executable, "-c", MEMORY, kind, *map(str, paths)]
        told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
        peak, arrays = map(float, told)
        of = f"{kind} of {len(bags):,} molecules: {peak:,.0f} MiB"
        out.append(f"Peak memory while loading {of}, {peak / arrays:.2f} × the arrays ({arrays:,.0f} MiB).")
    return out


def drawing(bags: BagData, rounds: int) -> str:
    """The row of the sampler; making it is part of both sides."""
    config = config_of(128, 256)
    y = bags.raw.y

    def ours() -> object:
        return list(MultitaskBalancedBatchSampler(y, config.sampler, 256))

    def theirs() -> object:
        return [torch.tensor(batch) for batch in balanced_batches(y, config.sampler, 256, 0)]

    return row("sampler", "batches", -(-len(y) // 256), in_turns(ours, theirs, rounds))


def exporting(bags: BagData, folder: Path, rounds: int) -> str:
    """The row of the attention export, from what each model gives to a Parquet file."""
    generator, rows = torch.Generator().manual_seed(0), np.arange(len(bags))
    probability = torch.rand(len(bags), 4, generator=generator, dtype=torch.float64)
    attention = torch.rand(len(bags.xinst), 4, generator=generator)
    padded = torch.nn.utils.rnn.pad_sequence(list(attention.split(bags.bag_sizes.tolist())), batch_first=True)
    conf_ids = np.split(bags.conf_ids, bags.offsets[1:-1].numpy())

    def ours() -> None:
        table = attention_table(bags, rows, probability.numpy(), attention.numpy(), EUOS25)
        write_table(folder / "ours.parquet", table)

    def theirs() -> None:
        table = attention_rows(bags.ids.tolist(), conf_ids, probability, padded.mT, EUOS25.names)
        table.to_parquet(folder / "theirs.parquet")

    times = in_turns(ours, theirs, rounds)
    same(folder / "ours.parquet", folder / "theirs.parquet")
    return row("attention export", "molecules", len(bags), times)


def same(ours: Path, theirs: Path) -> None:
    """Both files say the same."""
    a, b = pd.read_parquet(ours), pd.read_parquet(theirs)
    pd.testing.assert_frame_equal(a, b.reindex(columns=a.columns), check_dtype=False, rtol=1e-6)


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    bags = synthetic_bags(options.molecules)
    about = machine(f"pandas {pd.__version__}", f"pyarrow {pa.__version__}")
    command = f"`{' '.join(['.venv/bin/python', 'benchmarks/data.py', *sys.argv[1:]])}`"
    head = ["| | milbench | reference | milbench / reference | ratio |", "|---" * 5 + "|"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [drawing(bags, options.rounds), exporting(bags, folder, options.rounds), *loading(bags, folder, options.rounds)]
        peaks = memory(bags, folder) + memory(synthetic_bags(6 * options.molecules), folder / "more")
    lines = [ABOUT.format(molecules=options.molecules), "", command, "", about, "", *head, *rows, "", *peaks]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.write:
        write_section("data.py", "\n".join(lines))


if __name__ == "__main__":
    main()
