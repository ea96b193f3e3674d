"""What is predicted, as data: endpoints, auxiliary targets, and the EUOS25 preset (seed section 2.4)."""

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milbench.errors import ConfigError, DataError
from milbench.files import read_json, write_text

MAX_TASKS = 62
"""A label pattern is one int64 bit mask."""
LIMITS = {"quota_per_256": (0.0, 256.0), "posw_clip": (1.0, 1e5), "gamma": (0.0, 20.0), "lam": (1e-6, 1e6)}
"""What an endpoint's quota, both ends of its search ranges, and the parameters that stand for them may be set to."""


@dataclass(frozen=True)
class Endpoint:
    """One binary endpoint: `column` holds its label (0, 1 or empty), `weight` its sample weights (absent counts as 1).

    `ap_weighted`: its average precision is sample-weighted. `quota_per_256`: positives drawn per 256 of a batch (0: none).
    `short`: its name in parameter names (`quota_<short>_per_256`). The three ranges are the search ranges (low, high) of the
    loss's positive-weight clip, focal gamma and raw task weight (seed section 4.3).
    """

    name: str
    column: str = ""
    weight: str | None = None
    ap_weighted: bool = False
    quota_per_256: float = 0.0
    short: str = ""
    posw_clip: tuple[float, float] = (3.0, 220.0)
    gamma: tuple[float, float] = (0.0, 4.0)
    lam: tuple[float, float] = (0.25, 3.5)

    @property
    def label(self) -> str:
        """The label column: `column`, or the endpoint's own name."""
        return self.column or self.name


@dataclass(frozen=True)
class AuxTarget:
    """One auxiliary regression output: its column, and the column of its sample weights (absent counts as 1)."""

    column: str
    weight: str | None = None


@dataclass(frozen=True)
class TaskSet:
    """Everything a model predicts: T endpoints, A absorbance and F fluorescence auxiliaries (a column may be repeated)."""

    name: str
    endpoints: tuple[Endpoint, ...]
    aux_abs: tuple[AuxTarget, ...] = ()
    aux_fluo: tuple[AuxTarget, ...] = ()

    def __post_init__(self) -> None:
        names = [endpoint.name for endpoint in self.endpoints]
        if not 1 <= len(names) <= MAX_TASKS:
            raise ConfigError(f"task set {self.name!r}", "endpoints", got=len(names), want=f"1 to {MAX_TASKS}")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(f"task set {self.name!r}", "endpoint named twice", got=repeated[0], do="give each its own name")
        shorts = [self.short(t) for t in range(len(names))]
        if len({*shorts, "multi"}) <= len(shorts):
            raise ConfigError(
                f"task set {self.name!r}", "short names", got=", ".join(shorts), want="distinct ones, none 'multi'"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Endpoint names, in order."""
        return tuple(endpoint.name for endpoint in self.endpoints)

    def __len__(self) -> int:
        return len(self.endpoints)

    def short(self, t: int) -> str:
        """The endpoint's name inside parameter names: its `short`, or t<index>."""
        return self.endpoints[t].short or f"t{t}"

    @property
    def target_columns(self) -> tuple[str, ...]:
        """Every column that is a label, a weight or an auxiliary, without repeats: never a feature."""
        labels = [endpoint.label for endpoint in self.endpoints]
        aux = [target.column for target in (*self.aux_abs, *self.aux_fluo)]
        weights = [x.weight for x in (*self.endpoints, *self.aux_abs, *self.aux_fluo) if x.weight is not None]
        return tuple(dict.fromkeys([*labels, *aux, *weights]))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Any, where: object = "task set") -> "TaskSet":
        """The reverse of `to_dict`; an unknown or missing key, or a value that is none, is a ConfigError."""
        keys = ", ".join(field.name for field in dataclasses.fields(cls))
        if not isinstance(data, dict):
            raise ConfigError(where, "not a task set", got=type(data).__name__, want=f"a mapping of {keys}")
        unknown = sorted(set(data) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ConfigError(where, "unknown key", got=unknown[0], want=keys)
        try:
            return cls(
                name=_value("name", data["name"], f"{where}, name"),
                endpoints=tuple(Endpoint(**_values(one, where, "endpoint")) for one in data["endpoints"]),
                aux_abs=tuple(AuxTarget(**_values(one, where, "aux_abs")) for one in data.get("aux_abs", ())),
                aux_fluo=tuple(AuxTarget(**_values(one, where, "aux_fluo")) for one in data.get("aux_fluo", ())),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                where, f"not a task set ({error})", want="name, endpoints = [{name, column, weight, ...}]"
            ) from error


def _values(data: dict[str, Any], where: object, what: str) -> dict[str, Any]:
    """The values of one endpoint or auxiliary target; one that will not do is a ConfigError that names it and the key."""
    place = f"{where}, {what} {data.get('name', data.get('column', ''))}".rstrip()
    return {key: _value(key, value, f"{place}, {key}") for key, value in data.items()}


_TEXTS = {"name", "column", "weight", "short"}


def _value(key: str, value: Any, where: str) -> Any:
    """What stands at `key`, a range as a tuple; a key that there is not is left to whom it is given."""
    if key in _TEXTS and not (isinstance(value, str) or (key == "weight" and value is None)):
        raise ConfigError(where, got=value, want="text")
    if key == "ap_weighted" and not isinstance(value, bool):
        raise ConfigError(where, got=value, want="true or false")
    if key == "quota_per_256":
        return _quota(value, where)
    return _range(value, LIMITS[key], where) if key in LIMITS else value


def _quota(value: Any, where: str) -> float:
    least, most = LIMITS["quota_per_256"]
    if not (_is_number(value) and least <= value <= most):
        raise ConfigError(where, got=value, want=f"a number from {least:g} to {most:g}")
    return value


def _range(value: Any, limits: tuple[float, float], where: str) -> tuple[float, float]:
    least, most = limits
    if _is_number(value):
        raise ConfigError(where, got=value, want="a search range [low, high]", do=f"write [{value}, {value}] for one value")
    pair = value if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)) else (1, 0)
    if not least <= pair[0] <= pair[1] <= most:
        raise ConfigError(where, got=value, want=f"[low, high], low not above high, both from {least:g} to {most:g}")
    return pair[0], pair[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def load_tasks(name: str) -> TaskSet:
    """A preset by name (`euos25`), or a TaskSet from a .toml or .json file."""
    preset = PRESETS.get(name.lower())
    if preset is not None:
        return preset
    path = Path(name)
    if path.suffix not in {".toml", ".json"}:
        raise ConfigError("--tasks", got=name, want=f"a preset ({', '.join(PRESETS)}) or a .toml or .json file")
    if path.suffix == ".json":
        return TaskSet.from_dict(read_json(path), where=path)
    try:
        return TaskSet.from_dict(tomllib.loads(path.read_text(encoding="utf-8")), where=path)
    except FileNotFoundError as error:
        raise DataError(path, "no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(path, f"not valid TOML ({error})") from error


def write_tasks(path: Path, columns: Sequence[str]) -> Path:
    """Declare these label columns as endpoints in a .toml file for `--tasks`; a file with other content is left as it is."""
    quoted = [json.dumps(column, ensure_ascii=False) for column in columns]
    name = f"name = {json.dumps(path.stem, ensure_ascii=False)}\n"
    text = name + "".join(f"\n[[endpoints]]\nname = {column} # its label column: 0, 1 or empty\n" for column in quoted)
    if not path.exists():
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise ConfigError(path, "is there already and says otherwise", do="type it as the endpoints' file, or move it away")
    return path


EUOS25 = TaskSet(
    name="EUOS25",
    endpoints=(
        Endpoint(
            "Transmittance_340",
            weight="sample_weight_340",
            ap_weighted=True,
            short="t340",
            posw_clip=(12, 28),
            gamma=(0.5, 2.0),
            lam=(0.6, 1.6),
        ),
        Endpoint(
            "Transmittance_450",
            weight="sample_weight_450",
            ap_weighted=True,
            quota_per_256=4,
            short="t450",
            posw_clip=(35, 90),
            gamma=(1.0, 3.0),
            lam=(1.0, 2.4),
        ),
        Endpoint("Fluorescence_340_450", weight="w_ad", short="f340", posw_clip=(3, 10), gamma=(0.0, 1.5), lam=(0.25, 0.9)),
        Endpoint(
            "Fluorescence_more_than_480",
            weight="w_ad",
            quota_per_256=1,
            short="fgt480",
            posw_clip=(90, 220),
            gamma=(1.5, 4.0),
            lam=(1.8, 3.5),
        ),
    ),
    aux_abs=(
        AuxTarget("Transmittance_340_quantitative", "sample_weight_340"),
        AuxTarget("Transmittance_450_quantitative", "sample_weight_450"),
    ),
    aux_fluo=tuple(AuxTarget(column, "w_ad") for column in ("wl_pred_nm", "qy_pred", "wl_pred_nm", "qy_pred")),
)

PRESETS = {"euos25": EUOS25}
