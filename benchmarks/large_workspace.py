"""A workspace as large as one likes, of real files: the demo's molecules over and over, a study and a final model of them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.cli import main as milbench
from milbench.data.attention import ALL_FILE
from milbench.data.bags import BagData
from milbench.data.store import load_store
from milbench.data.store_writer import Piece, StorePlan, store_writer
from milbench.export import attention_table
from milbench.files import read_array, read_json, write_table
from milbench.run_config import FINAL_FOLDER
from milbench.seeds import stream
from milbench.training.checkpoint import load_checkpoint
from runs import PINS

NOISE = 0.01
"""Every copy's features differ from the demo's by so much, in the column's own unit."""


def make_large(demo: Path, root: Path, molecules: int) -> None:
    """Below `root` the folder `large`: a store of so many molecules, a study of the smallest model (two trials of an epoch),
    its final model, and the attention over every molecule. What is there already is kept, and what was interrupted goes on.
    """
    store, study = root / "large" / "store", root / "large" / "study"
    if (study / ALL_FILE).is_file():
        return
    if not store.is_dir():
        repeat_store(demo / "store", store, molecules)
    fix = [f"{name}={value}" for name, value in (PINS | {"batch_size": 512}).items()]
    budget = ["--trials", "2", "--folds", "2", "--max_epochs", "1", "--nn_accelerator", "cpu"]
    if milbench(["run", "--store", str(store), "--study_dir", str(study), "--run_hpo", *budget, "--fix", *fix]):
        raise SystemExit("milbench run failed")
    write_table(study / ALL_FILE, attention_to_all(store, study / FINAL_FOLDER))


def attention_to_all(store: Path, final: Path) -> pd.DataFrame:
    """What `milbench predict --attn_out` writes; that command would look for the nearest training molecules of all, too."""
    bags, tasks = load_store(store)
    everyone = np.arange(len(bags))
    found = load_checkpoint(final / "best_model.ckpt").evaluator(bags).predict(everyone)
    return attention_table(bags, everyone, found.probability, found.attention, tasks)


def repeat_store(source: Path, folder: Path, molecules: int) -> None:
    """A store of so many molecules: those of `source`, copied as often as needed under new IDs, with a little noise."""
    bags, tasks = load_store(source)
    manifest = read_json(source / "manifest.json")
    known = pd.read_parquet(source / "conformers.parquet")
    positions, ends = (read_array(source / f"{name}.npy") for name in ("coordinates", "coordinate_offsets"))
    copies = math.ceil(molecules / len(bags))
    parts = [min(len(bags), molecules - copy * len(bags)) for copy in range(copies)]
    rows = [int(bags.offsets[n]) for n in parts]
    aux = bags.raw.abs.shape[1], bags.raw.fluo.shape[1]
    atoms = int(sum(ends[r] for r in rows))
    plan = StorePlan(tasks, bags.names2d, bags.names_inst, molecules, sum(rows), aux, atoms)
    about = {"provenance": manifest["provenance"], "notes": manifest["notes"], "units": manifest["units"]}
    with store_writer(folder, plan, about) as writer:
        for copy, (n, r) in enumerate(zip(parts, rows, strict=True)):
            writer.add(_copy(bags, known, (positions[: ends[r]], np.diff(ends[: r + 1])), (copy, n, r), tasks.names))


def _copy(
    bags: BagData,
    known: pd.DataFrame,
    space: tuple[np.ndarray, np.ndarray],
    which: tuple[int, int, int],
    names: tuple[str, ...],
) -> Piece:
    """The first n molecules and r conformers of `bags`, as copy number `copy`."""
    copy, n, r = which
    rng = stream(0, "large_workspace", copy)
    ids = np.array([f"{name}-{copy}" for name in bags.ids[:n]], dtype=object)
    table = {
        "ID": ids,
        "split": bags.split[:n],
        "cv_fold": bags.fold[:n],
        "smiles": None if bags.smiles is None else bags.smiles[:n],
    }
    sizes = bags.bag_sizes[:n]
    return Piece(
        molecules=pd.DataFrame(table | {name: bags.raw.y[:n, t] for t, name in enumerate(names)}),
        conformers=known.iloc[:r].assign(ID=np.repeat(ids, sizes)),
        x2d=_noisy(bags.x2d.numpy()[:n], rng),
        xinst=_noisy(bags.xinst.numpy()[:r], rng),
        sizes=sizes,
        raw=bags.raw.take(np.arange(n)),
        positions=space[0],
        atoms=space[1],
    )


def _noisy(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows + NOISE * rng.standard_normal(rows.shape, dtype=np.float32)
