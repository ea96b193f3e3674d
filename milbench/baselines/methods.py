"""The baselines by name: what each is, and how many conformers it is given. Loads nothing heavy."""

from dataclasses import dataclass

from milbench.errors import ConfigError
from milbench.registry import did_you_mean

TABLE, NETWORK, PLATE = "table", "network", "plate"
_KINDS = {
    "lightgbm": (TABLE, "LightGBM on 2D"),
    "shallow": (TABLE, "shallow LightGBM on 2D"),
    "forest": (TABLE, "random forest on 2D"),
    "logistic": (TABLE, "logistic regression on 2D"),
    "mlp2d": (NETWORK, "network, 2D alone"),
    "mean": (NETWORK, "network, mean pooling"),
    "max": (NETWORK, "network, max pooling"),
    "gated": (NETWORK, "network, gated attention"),
    "attention": (NETWORK, "network, task attention"),
    "plate": (PLATE, "plate alone"),
}
AGGREGATORS = {"mean": "mean_pool", "max": "max_pool", "gated": "gated_attention", "attention": "task_attention_pool"}
COUNTED = (*AGGREGATORS, *(name for name, (kind, _) in _KINDS.items() if kind == TABLE))
"""Those that take a number of conformers; table models take the mean of their features."""
NAMES = tuple(_KINDS)


@dataclass(frozen=True)
class Method:
    """A baseline: `name`, and the number of `conformers` of each molecule (0: 2D alone; None: all there are)."""

    name: str
    conformers: int | None = None

    @classmethod
    def of(cls, text: str) -> "Method":
        """From `name`, or `name:CONFORMERS` of a method in `COUNTED`; another one is a ConfigError."""
        name, colon, count = text.partition(":")
        if name not in _KINDS:
            raise ConfigError("--methods", got=text, want=f"any of {', '.join(NAMES)}", do=did_you_mean(name, NAMES))
        if colon and (name not in COUNTED or not count.isdigit() or int(count) < 1):
            raise ConfigError("--methods", got=text, want=f"{' or '.join(COUNTED)} with 1 conformer or more, e.g. attention:3")
        alone = name == "mlp2d" or _KINDS[name][0] == TABLE
        return cls(name, int(count) if colon else 0 if alone else None)

    @property
    def kind(self) -> str:
        """table, network or plate."""
        return _KINDS[self.name][0]

    @property
    def folder(self) -> str:
        """Its folder's name."""
        return f"{self.name}_{self.conformers}" if self.conformers else self.name

    @property
    def title(self) -> str:
        """In words."""
        pooled = " and the mean of 3D" if self.kind == TABLE and self.conformers else ""
        count = f", {self.conformers} conformer{'s' * (self.conformers > 1)}" if self.conformers else ""
        return _KINDS[self.name][1] + pooled + count
