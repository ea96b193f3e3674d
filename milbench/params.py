"""One hyperparameter: its default, search range, valid values and meaning, read off a dataclass field."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from milbench.errors import ConfigError
from milbench.registry import REGISTRIES
from milbench.tasks import LIMITS, TaskSet

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Param:
    """A flat hyperparameter: `low`..`high` or `choices` are searched, `valid` is what may be set at all.

    `valid` is a closed interval for numbers and a tuple of names for text; None allows any value of the type.
    """

    name: str
    group: str
    field: str
    index: int | None
    default: Scalar
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    log: bool = False
    valid: tuple[Any, ...] | None = None
    help: str = ""
    searched: bool = True
    optional: bool = False
    registry: str | None = None

    @property
    def is_searched(self) -> bool:
        """Whether a study searches it: it has a range, or a second choice."""
        return self.searched and (self.low is not None or len(self.choices) > 1)

    @property
    def kind(self) -> type:
        """bool, int, float or str."""
        return float if self.default is None else type(self.default)

    @property
    def range_text(self) -> str:
        """The search range for people: '8e-05 to 0.0008 (log)' or '128, 256'; '' when it is not searched."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        return "" if self.low is None else f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"

    @property
    def range_flag(self) -> str:
        """The search range as `--range` takes it: 'lr=8e-05:0.0008' or 'batch_size=128,256'."""
        return f"{self.name}={','.join(map(str, self.choices)) if self.choices else f'{self.low}:{self.high}'}"

    def over(self, text: str, where: object) -> "Param":
        """This parameter searched over 'LOW:HIGH' or 'a,b,…' instead, within what is valid; anything else is a ConfigError."""
        low, colon, high = text.partition(":")
        if not colon:
            choices = tuple(dict.fromkeys(self.checked(self.parsed(part.strip()), where) for part in text.split(",")))
            if len(choices) < 2:
                raise ConfigError(where, "needs two or more values", got=text, do=f"use --fix {self.name}={text}")
            return dataclasses.replace(self, low=None, high=None, choices=choices, searched=True)
        if self.kind not in (int, float):
            raise ConfigError(where, f"{self.name} has no range", got=text, want="values separated by commas")
        ends = [self.checked(self.parsed(end.strip()), where) for end in (low, high)]
        if ends[0] >= ends[1] or (self.log and ends[0] <= 0):
            above = " and above 0, since the scale is logarithmic" if self.log else ""
            raise ConfigError(where, got=text, want=f"LOW:HIGH with LOW below HIGH{above}")
        return dataclasses.replace(self, low=ends[0], high=ends[1], choices=(), searched=True)

    def suggested(self, trial: Any) -> Any:
        """Ask an Optuna trial for a value."""
        if self.choices:
            return trial.suggest_categorical(self.name, list(self.choices))
        if self.kind is int:
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def parsed(self, value: Any) -> Any:
        """Text from a command line as a value of the parameter's type; other values unchanged."""
        if not isinstance(value, str) or self.kind is str:
            return value
        if self.kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}.get(value.lower(), value)
        try:
            return self.kind(value)
        except ValueError:
            return value

    def checked(self, value: Any, where: object) -> Any:
        """`value` if it has the right type and is valid; otherwise a ConfigError that says what would be."""
        if value is None and (self.default is None or self.optional):
            return None
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not self.kind:
            raise ConfigError(
                where, f"{self.name} has the wrong type", got=value, want=f"{self.kind.__name__} {self._valid_text}"
            )
        if self.registry:
            REGISTRIES[self.registry].resolve(str(value))
        elif self.kind is str:
            self._check_name(str(value), where)
        elif self.valid is not None and not self.valid[0] <= value <= self.valid[1]:
            raise ConfigError(where, f"{self.name} is out of range", got=value, want=self._valid_text)
        return value

    def _check_name(self, value: str, where: object) -> None:
        allowed = self.valid or self.choices
        if allowed and value not in allowed:
            raise ConfigError(where, f"{self.name} is not a choice", got=value, want=", ".join(allowed))

    @property
    def _valid_text(self) -> str:
        if self.kind is str:
            return f"one of {', '.join(self.valid or self.choices)}" if self.valid or self.choices else ""
        bounds = "" if self.valid is None else f"from {self.valid[0]:g} to {self.valid[1]:g}"
        searched = f" (searched: {self.range_text})" if self.range_text and self.searched else ""
        return f"{bounds}{searched}"


def hp(
    default: Scalar,
    *,
    of: tuple[float, float] | None = None,
    choices: Sequence[Any] = (),
    log: bool = False,
    valid: tuple[Any, ...] | None = None,
    registry: str | None = None,
    searched: bool = True,
    help: str,
) -> Any:
    """A dataclass field that is a hyperparameter: searched over `of` (low, high) or `choices`, settable within `valid`."""
    spec = {
        "low": of and of[0],
        "high": of and of[1],
        "choices": tuple(choices),
        "log": log,
        "valid": valid or of,
        "searched": searched,
        "registry": registry,
        "help": help,
    }
    return dataclasses.field(default=default, metadata={"hp": spec})


def per_task(source: str, *, log: bool = False, optional: bool = False, help: str) -> Any:
    """A field with one value an endpoint, whose default or range is the Endpoint's attribute `source`."""
    spec = {"log": log, "valid": LIMITS[source], "help": help, "optional": optional}
    return dataclasses.field(default=(), metadata={"hp": spec, "per_task": source})


def hyperparameters(group: str, cls: type, tasks: TaskSet) -> list[Param]:
    """The flat hyperparameters of a config group."""
    out: list[Param] = []
    for field in dataclasses.fields(cls):
        spec = field.metadata.get("hp")
        if spec is None:
            continue
        if "per_task" in field.metadata:
            out.extend(_task_param(group, field, t, tasks) for t in range(len(tasks)))
            continue
        registry = spec.get("registry")
        names = REGISTRIES[registry].searched() if registry else ()
        choices = (field.default, *names) if names else spec["choices"]
        out.append(Param(field.name, group, field.name, None, cast("Scalar", field.default), **{**spec, "choices": choices}))
    return out


def _task_param(group: str, field: "dataclasses.Field[Any]", t: int, tasks: TaskSet) -> Param:
    endpoint, spec = tasks.endpoints[t], field.metadata["hp"]
    source = getattr(endpoint, field.metadata["per_task"])
    spec = {**spec, "help": f"{endpoint.name}: {spec['help']}"}  # its own name says no more than t0
    if field.name == "quota_per_256":  # a number, not searched
        return Param(f"quota_{tasks.short(t)}_per_256", group, field.name, t, float(source), **spec)
    low, high = source
    default = low if low == high else (low * high) ** 0.5 if spec["log"] else (low + high) / 2
    return Param(f"{field.name}_t{t}", group, field.name, t, float(default), low=float(low), high=float(high), **spec)
