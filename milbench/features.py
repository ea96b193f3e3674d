"""Which features a model is given and how they are scaled: settings of a run, frozen with its study. Loads nothing heavy."""

from dataclasses import dataclass
from typing import Any, Literal

from milbench.errors import ConfigError

Kind = Literal["standard", "signed_log", "quantile"]
LEAST_CLIP = 2.0


@dataclass(frozen=True)
class FeatureChoice:
    """2D and conformer columns by set name or glob (none named: all), and the first so many conformers (None: all)."""

    features2d: tuple[str, ...] = ()
    features3d: tuple[str, ...] = ()
    conformers: int | None = None

    def __post_init__(self) -> None:
        if self.conformers is not None and self.conformers < 0:
            raise ConfigError("--conformers", got=self.conformers, want="0 (2D alone) or more")

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, as plain JSON types; {} for everything there is."""
        asked = {"features2d": list(self.features2d), "features3d": list(self.features3d), "conformers": self.conformers}
        return {name: value for name, value in asked.items() if value not in ([], None)}


@dataclass(frozen=True)
class Scaling:
    """How features are scaled by a fold's training molecules: `kind`, then limited to `clip` standard deviations (0: not)."""

    kind: Kind = "standard"
    clip: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in {"standard", "signed_log", "quantile"}:
            raise ConfigError("--scaling", got=self.kind, want="standard, signed_log or quantile")
        if self.clip and not self.clip >= LEAST_CLIP:
            raise ConfigError("--clip", got=self.clip, want=f"0 (no clipping), or {LEAST_CLIP:g} standard deviations or more")

    @property
    def words(self) -> str:
        """In words."""
        return f"{self.kind}, clipped at {self.clip:g}" if self.clip else self.kind


STANDARD = Scaling()
"""Mean and standard deviation alone, as the specification has it."""
