"""CPU time of `milbench prepare` against RDKit's own embedding and descriptor calls, and its peak memory.

    .venv/bin/python benchmarks/prepare.py [--molecules 150] [--memory 20000 100000] [--write]

Molecules: a draw of the user's copy of EUOS25 beside the repository, else RDKit's NCI structures.
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
import rdkit
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import Descriptors, rdDistGeom
from rdkit.Chem import rdMolDescriptors as rd

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import machine, write_section  # noqa: E402

from milbench.chem.compute import Recipe, describe  # noqa: E402
from milbench.chem.conformers import molecule_seed  # noqa: E402
from milbench.chem.molecules import standardise  # noqa: E402
from milbench.prepare_config import PrepareConfig  # noqa: E402

EUOS25 = ROOT.parent / "shared" / "data" / "euos25" / "euos25_challenge_train_transmittance450.csv"
FULL = 70_000
CHEAP = "morgan:236:2"  # as many columns as the default 2D sets
ABOUT = """## Preparing molecules against RDKit's own calls

CPU time in one process, the two taking turns molecule by molecule. RDKit's own calls: parse, add hydrogens, ETKDGv3 with
the same seed, the 217 descriptors, and AUTOCORR3D, RDF, MoRSE, WHIM, USR, USRCAT, PMI and other shape calls on as many
conformers as milbench keeps. milbench: all it does to a molecule; standardising, InChIKey, pruning and its own sets
(conjugation, Hückel) too. `prepare` as a whole: CPU of all its processes after imports, with starting the worker, reading,
checking and writing. Memory: largest resident size of each process; the worker's counts what it inherits at its start."""
CALLS_3D: tuple[Callable[..., object], ...] = (
    rd.CalcAUTOCORR3D,
    rd.CalcRDF,
    rd.CalcMORSE,
    rd.CalcWHIM,
    rd.GetUSR,
    rd.GetUSRCAT,
    rd.CalcPMI1,
    rd.CalcPMI2,
    rd.CalcPMI3,
    rd.CalcNPR1,
    rd.CalcNPR2,
    rd.CalcRadiusOfGyration,
    rd.CalcAsphericity,
    rd.CalcEccentricity,
    rd.CalcInertialShapeFactor,
    rd.CalcSpherocityIndex,
    rd.CalcPBF,
)


def molecules(n: int) -> pd.DataFrame:
    """n molecules, ID and SMILES, drawn with a fixed seed."""
    if EUOS25.is_file():
        return pd.read_csv(EUOS25, usecols=["ID", "SMILES"]).sample(n, random_state=0).reset_index(drop=True)
    return nci().sample(n, random_state=0).reset_index(drop=True)


def nci() -> pd.DataFrame:
    """RDKit's NCI structures."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    return pd.DataFrame([line.split("\t")[::-1] for line in lines], columns=["ID", "SMILES"])


def reference(smiles: str, inchikey: str, conformers: int, kept: int) -> None:
    """RDKit's own calls on one molecule."""
    mol = Chem.MolFromSmiles(smiles)
    for _, function in Descriptors.descList:
        function(mol)
    full = Chem.AddHs(mol)
    params = rdDistGeom.ETKDGv3()
    params.randomSeed, params.numThreads, params.maxIterations = molecule_seed(inchikey), 1, 20
    rdDistGeom.EmbedMultipleConfs(full, conformers, params)
    for i in range(min(kept, full.GetNumConformers())):
        for function in CALLS_3D:
            function(full, confId=i)


def cpu(function: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def per_molecule(table: pd.DataFrame, config: PrepareConfig) -> tuple[np.ndarray, int]:
    """CPU seconds [n, 2] of milbench and of the reference, interleaved, and the number of conformers kept."""
    recipe, times, conformers = Recipe.of(config), [], 0
    describe("CCO", recipe)
    for i, written in enumerate(table["SMILES"]):
        found = standardise(written)
        kept = len(describe(written, recipe).x3d)
        arguments = found.smiles, found.inchikey, config.conformers, kept  # type: ignore[union-attr]
        pair = [lambda w=written: describe(w, recipe), lambda a=arguments: reference(*a)]
        spent = [cpu(side) for side in (pair if i % 2 else pair[::-1])]
        times.append(spent if i % 2 else spent[::-1])
        conformers += kept
    return np.array(times), conformers


WHOLE = """
import resource, sys, time
from pathlib import Path
from milbench.chem.prepare import prepare
from milbench.prepare_config import PrepareConfig
def usage():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in both), [u.ru_maxrss / 2**20 for u in both]
start, wall = usage()[0], time.perf_counter()
prepare(PrepareConfig(Path(sys.argv[1]), Path(sys.argv[2]), processes=1, **eval(sys.argv[3])))
cpu, (own, worker) = usage()
print(cpu - start, time.perf_counter() - wall, own, worker)
"""


def whole(table: pd.DataFrame, **settings: object) -> list[float]:
    """CPU seconds, seconds, and peak GiB of the main process and of its worker, of one prepare in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.csv"
        table.to_csv(source, index=False)
        arguments = [sys.executable, "-c", WHOLE, str(source), str(Path(folder) / "store"), repr(settings)]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=ROOT)
    return [float(value) for value in done.stdout.split()]


def memory(n: int) -> str:
    """Peak memory of descriptors only, for n rows."""
    structures = nci()
    table = structures.iloc[np.arange(n) % len(structures)].assign(ID=np.arange(n))
    _, seconds, own, worker = whole(table, conformers=0, sets_2d=(CHEAP,))
    return f"| {n:,} | {own:.2f} GiB | {worker:.2f} GiB | **{own + worker:.2f} GiB** | {seconds:.0f} s |"


def speed(n: int) -> list[str]:
    """The lines on CPU time."""
    table = molecules(n)
    config = PrepareConfig(Path("in.csv"), Path("out"))
    with rdBase.BlockLogs():
        times, conformers = per_molecule(table, config)
    ours, theirs = times.sum(axis=0)
    spread = np.quantile(times[:, 0] / times[:, 1], [0.05, 0.5, 0.95])
    total, _, _, _ = whole(table)
    rate = n / total
    hours = [FULL / rate / cores / 3600 for cores in (2, 16)]
    return [
        f"{n} molecules ({'EUOS25' if EUOS25.is_file() else 'NCI'}), {config.conformers} conformers asked for, "
        f"{conformers / n:.1f} kept, default sets:\n",
        "| | CPU a molecule | ratio to RDKit's calls |\n|---|---|---|",
        f"| RDKit's own calls | {1000 * theirs / n:.0f} ms | 1 |",
        f"| milbench, the molecule | {1000 * ours / n:.0f} ms | **{ours / theirs:.3f}** "
        f"(molecules: median {spread[1]:.3f}, 5-95 %: {spread[0]:.2f}-{spread[2]:.2f}) |",
        f"| milbench, `prepare` as a whole | {1000 * total / n:.0f} ms | {total / theirs:.3f} |\n",
        f"{rate:.2f} molecules/s a core; {FULL:,} molecules by CPU time: {hours[0]:.1f} h on 2 cores, {hours[1]:.1f} h on 16.",
    ]


def main() -> None:
    """Run and print; `--write` also replaces this benchmark's section of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=150, help="for the CPU time; 0 for none")
    parser.add_argument("--memory", type=int, nargs="*", default=[20_000], help="rows for the peak memory, any number of sizes")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    options = parser.parse_args()
    lines = [
        ABOUT,
        "",
        f"`{' '.join(['.venv/bin/python', 'benchmarks/prepare.py', *sys.argv[1:]])}`",
        "",
        machine(f"RDKit {rdkit.__version__}"),
        "",
    ]
    lines += speed(options.molecules) if options.molecules else []
    if options.memory:
        lines += ["", f"Peak memory, descriptors only ({CHEAP}, as wide as the default sets):\n"]
        lines += ["| rows | main process | worker | together | time |\n|---|---|---|---|---|", *map(memory, options.memory)]
    print("\n".join(lines))
    if options.write:
        write_section("prepare.py", "\n".join(lines))


if __name__ == "__main__":
    main()
