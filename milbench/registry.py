"""Parts by name: register, look up, and say what there is when a name is unknown."""

import difflib
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Generic, TypeVar

from milbench.errors import ConfigError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest known name, or ''."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


class Registry(Generic[T]):
    """Builders of one kind by name; `aliases` keep old names working; `check` is run on what a user registers."""

    def __init__(self, kind: str, aliases: dict[str, str] | None = None) -> None:
        self.kind = kind
        self._aliases = aliases or {}
        self._builders: dict[str, Callable[..., T]] = {}
        self._searched: list[str] = []

    def register(self, name: str, builder: Callable[..., T], *, search: bool = False) -> None:
        """Add `builder` under `name`; `search=True` also makes it a choice of the HPO search. A name in use is an error."""
        if name in self._builders or name in self._aliases:
            raise ConfigError(f"{self.kind} {name!r}", "is registered already", do=f"choose another name than {self._listed()}")
        self._builders[name] = builder
        if search:
            self._searched.append(name)

    def resolve(self, name: str) -> str:
        """The registered name that `name` (or an alias) stands for; unknown is an error that lists what there is."""
        name = self._aliases.get(name, name)
        if not self._builders:  # the shipped parts are registered when the models are imported
            import_module("milbench.models")
        if name not in self._builders:
            hint = did_you_mean(name, self._builders) or "check the spelling or register it"
            raise ConfigError(f"{self.kind} {name!r}", "is not registered", want=f"one of {self._listed()}", do=hint)
        return name

    def build(self, name: str, *args: object, **kwargs: object) -> T:
        """Call the builder registered under `name`."""
        return self._builders[self.resolve(name)](*args, **kwargs)

    def names(self) -> tuple[str, ...]:
        """Every registered name, sorted."""
        return tuple(sorted(self._builders))

    def searched(self) -> tuple[str, ...]:
        """The names that the HPO search may choose from."""
        return tuple(self._searched)

    def unregister(self, name: str) -> None:
        """Take `name` out again (tests and notebooks that redefine a part)."""
        del self._builders[self.resolve(name)]
        self._searched = [kept for kept in self._searched if kept != name]

    def _listed(self) -> str:
        return ", ".join(self.names())


MOL_EMBEDDERS: Registry[Any] = Registry("2d_embedder", aliases={"mlp_v3": "mlp_v3_2d"})
INST_EMBEDDERS: Registry[Any] = Registry("3d_embedder", aliases={"mlp_v3": "mlp_v3_3d"})
AGGREGATORS: Registry[Any] = Registry("aggregator")
PREDICTORS: Registry[Any] = Registry("predictor")

REGISTRIES: dict[str, Registry[Any]] = {r.kind: r for r in (MOL_EMBEDDERS, INST_EMBEDDERS, AGGREGATORS, PREDICTORS)}
