"""The names of the columns that are not features. Loads nothing heavy."""

from dataclasses import dataclass

NOT_FEATURES = frozenset({"ID", "conf_id", "smiles", "SMILES", "curated_SMILES", "split", "record_index", "status", "error"})


@dataclass(frozen=True)
class Columns:
    """Names of the identifier, conformer, split and fold columns, and of the SMILES column where it is none of the usual."""

    id: str = "ID"
    conf: str = "conf_id"
    split: str = "split"
    fold: str = "cv_fold"
    smiles: str | None = None

    @property
    def reserved(self) -> frozenset[str]:
        """Every column that is never a feature, whatever the table."""
        return NOT_FEATURES | {self.id, self.conf, self.split, self.fold, *filter(None, [self.smiles])}
