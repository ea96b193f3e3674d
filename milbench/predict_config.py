"""What `milbench predict` is asked to do. Loads neither torch nor RDKit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from milbench.errors import ConfigError
from milbench.flags import OptionalCount, OptionalPath, OptionalShare, OptionalText
from milbench.run_config import at_least

TABLES = (".parquet", ".csv")


@dataclass(frozen=True)
class PredictConfig:
    """New molecules in, a score of each endpoint out, with the nearest training molecule and what each conformer is worth."""

    model: Annotated[Path, tyro.conf.Positional]
    """The final model: its folder, a study folder that holds one, or a .ckpt."""
    source: Annotated[Path, tyro.conf.Positional]
    """SMILES (.csv, .parquet, .smi, .sdf; described as the model's own molecules were), or a bag store, or the 2D table that
    goes with --instances."""
    out: Path
    """Table to write (.parquet or .csv), one row a molecule. Work goes on beside it in <out>.work, also after a kill: run the
    same command again."""
    also: tuple[Path, ...] = ()
    """Further models of the same endpoints and features; the prediction is the mean over all, their spread stands beside it."""
    instances: tuple[Path, ...] = ()
    """Conformer tables with the model's features, for a model that was trained on tables; INPUT is then their 2D table."""
    attn_out: OptionalPath = None
    """Table to write the attention to (.parquet or .csv), one row a conformer."""
    store: OptionalPath = None
    """Keep the described molecules here as a bag store; otherwise it is removed at the end."""
    min_similarity: OptionalShare = None
    """Tanimoto similarity to the nearest training molecule from which a molecule is in the domain; default: the model's own,
    which 95 % of its training molecules reach among themselves."""
    id_col: str = "ID"
    """Name of the ID column."""
    conf_col: str = "conf_id"
    """Name of the conformer column of --instances."""
    smiles_col: OptionalText = None
    """Name of the SMILES column; default: curated_SMILES, smiles or SMILES."""
    block: int = 4096
    """Molecules in a piece of work that is finished or not."""
    processes: OptionalCount = None
    """Processes that describe molecules; default: one a core."""
    nn_accelerator: str = "auto"
    """auto, cpu or gpu."""

    def __post_init__(self) -> None:
        outputs = {"--out": self.out, "--attn_out": self.attn_out}
        for flag, path in outputs.items():
            if path is not None and path.suffix not in TABLES:
                raise ConfigError(flag, got=path.suffix or str(path), want=" or ".join(TABLES))
        if self.attn_out == self.out:
            raise ConfigError("--attn_out", "is --out too", got=str(self.out), do="choose another name")
        at_least("--block", self.block, 1)
        if self.processes is not None:
            at_least("--processes", self.processes, 1)
        if self.min_similarity is not None and not 0 <= self.min_similarity <= 1:
            raise ConfigError("--min_similarity", got=self.min_similarity, want="0 to 1")

    @property
    def work(self) -> Path:
        """Folder of the unfinished work."""
        return self.out.absolute().with_name(f"{self.out.name}.work")

    @property
    def described(self) -> Path:
        """The store that SMILES or tables become."""
        return self.work / "store" if self.store is None else self.store

    @property
    def about(self) -> Path:
        """How the predictions were made, written last."""
        return self.out.with_suffix(".about.json")

    @property
    def left_out(self) -> Path:
        """The molecules that could not be predicted, each with the reason."""
        return self.out.with_suffix(".left_out.csv")
