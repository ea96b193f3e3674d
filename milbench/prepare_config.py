"""What `milbench prepare` is asked to do. Loads neither torch nor RDKit."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from milbench.cluster import ClusterFlags, Flags
from milbench.columns import Columns
from milbench.errors import ConfigError
from milbench.flags import OptionalCount, OptionalPath, OptionalText

SUFFIXES = (".csv", ".parquet", ".smi", ".sdf")
_NOT_CONTENT = ("source", "out", "processes", "slurm")
_PATHS = ("source", "out", "like")


@dataclass(frozen=True)
class PrepareConfig:
    """Molecules in, a bag store out: standardised structures, descriptors, conformers and their features, and your labels."""

    source: Annotated[Path, tyro.conf.Positional]
    """SMILES table (.csv, .parquet), .smi file, or .sdf (consecutive records of one name are conformers of one molecule)."""
    out: Path
    """The bag store to write. Work goes on beside it in <out>.work, also after a kill: run the same command again."""
    tasks: str = "euos25"
    """What is predicted: euos25, or a .toml or .json file that declares endpoints. Without label columns all are missing; with
    some, the others are an error, but missing where --like names a model."""
    id_col: str = "ID"
    """Name of the ID column (in an .sdf a property; the title where there is none)."""
    smiles_col: OptionalText = None
    """Name of the SMILES column; default: curated_SMILES, smiles or SMILES."""
    split_col: str = "split"
    """Name of the split column; if not given, and there is none: everything is `train`."""
    fold_col: str = "cv_fold"
    """Name of the fold column; if not given, and there is none: no folds are assigned."""
    labels_missing: Literal["mask", "negative"] = "mask"
    """A missing label stays missing (mask), or becomes negative."""
    neutralise: bool = True
    """Undo charges that a proton can undo."""
    sets_2d: tuple[str, ...] = ("rdkit217", "conjugation")
    """2D sets: rdkit217, conjugation, maccs, the counts morgan[:SIZE:RADIUS], atompair[:SIZE] and torsion[:SIZE], or your own
    as MODULE:NAME."""
    sets_3d: tuple[str, ...] = ("autocorr3d", "rdf", "morse", "whim", "usr", "usrcat", "shape", "huckel")
    """Sets of each conformer: these, getaway, eht (slow), energy (with --mmff), or your own as MODULE:NAME."""
    conformers: int = 10
    """Conformers asked for of each molecule; 0 for 2D descriptors only. An .sdf brings its own."""
    prune_rms: float = 0.05
    """Of two conformers nearer than this (Å, heavy atoms, symmetry counted) one is kept: never the same one twice."""
    mmff: int = 0
    """Steps of MMFF94s optimisation of each conformer; 0 for none, and then no energies."""
    keep_empty_bags: bool = False
    """Keep molecules for which no conformer can be made; they are predicted from 2D alone."""
    nonfinite: Literal["mend", "drop_molecules", "keep"] = "mend"
    """Values that a descriptor cannot give: mend leaves out columns that lack them in over 1 % of the molecules, then the few
    molecules that lack them elsewhere; or drop such molecules, or keep NaN (then train with --impute median). All reported."""
    like: OptionalPath = None
    """A bag store, or a final model, whose descriptor columns are made again, to append to it or to predict with it. Settings
    of structures, sets and conformers that are not given are as there."""
    float16: bool = False
    """Store conformer features in half the space; the loss is reported, a column that does not fit is refused."""
    time_limit: float = 120.0
    """CPU seconds that a molecule may take (ten times that by the clock); then it is ended and reported."""
    seed: int = 0
    """Seed of the conformers; a molecule's own is drawn from it and its InChIKey."""
    shard_size: int = 256
    """Molecules in a piece of work that is finished or not."""
    processes: OptionalCount = None
    """Processes on this machine; default: one a core. The bytes do not depend on it."""
    slurm: Flags = field(default_factory=ClusterFlags)

    def __post_init__(self) -> None:
        if self.source.suffix not in SUFFIXES:
            raise ConfigError(self.source, "unknown format", got=self.source.suffix, want=", ".join(SUFFIXES))
        for name, least in (("conformers", 0), ("mmff", 0), ("shard_size", 1), ("processes", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--{name}", got=value, want=f"{least} or more")
        for name in ("prune_rms", "time_limit"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"--{name}", got=getattr(self, name), want="more than 0")
        if "energy" in self.sets_3d and not self.mmff:
            raise ConfigError("--sets_3d energy", "needs energies", do="optimise the conformers, e.g. --mmff 200")
        if not self.sets_2d:
            raise ConfigError("--sets_2d", "names no set", want="at least one, e.g. rdkit217")
        if not self.sets_3d:
            raise ConfigError("--sets_3d", "names no set", want="at least one, e.g. usr", do="or --conformers 0 for none")

    @property
    def columns(self) -> Columns:
        """The column names."""
        return Columns(self.id_col, split=self.split_col, fold=self.fold_col)

    @property
    def work(self) -> Path:
        """Folder of the unfinished work."""
        return self.out.with_name(f"{self.out.name}.work")

    @property
    def sdf(self) -> bool:
        """Whether structures come with coordinates."""
        return self.source.suffix == ".sdf"

    def settings(self) -> dict[str, Any]:
        """What decides the store's content, as plain JSON types."""
        values = {name: value for name, value in asdict(self).items() if name not in _NOT_CONTENT}
        return {k: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v for k, v in values.items()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "PrepareConfig":
        """The reverse of `settings`; `source` and `out` come with them."""
        given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        paths: dict[str, Any] = {name: Path(given[name]) for name in _PATHS if given.get(name) is not None}
        return cls(**given | paths)
