"""Every hyperparameter once: default, search range and meaning on one line (seed sections 1.1 and 4).

`search_space`, `HPOConfig.from_params` / `to_params`, the command line and the apps read these fields; `MIL*Config` inherit
them.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milbench.errors import ConfigError
from milbench.params import Param, hp, hyperparameters, per_task
from milbench.registry import did_you_mean
from milbench.tasks import EUOS25, TaskSet

ACTIVATIONS = ("GELU", "SiLU", "Mish", "ReLU", "LeakyReLU")
_WIDTH, _DEPTH, _DROP, _UNIT = (8, 4096), (1, 32), (0.0, 0.9), (0.0, 1.0)


@dataclass(frozen=True)
class BackboneConfig:
    """Embedders, attention pooling and mixer (seed 4.1). Widths in units, dropouts as probabilities."""

    mol_hidden: int = hp(128, choices=(128, 256), valid=_WIDTH, help="width of the 2D molecule embedder")
    mol_layers: int = hp(3, of=(2, 5), valid=_DEPTH, help="residual blocks of the 2D embedder")
    mol_dropout: float = hp(0.15, of=(0.10, 0.25), valid=_DROP, help="dropout inside each 2D block")
    mol_input_dropout: float = hp(
        0.0, valid=_DROP, help="dropout of the 2D features themselves: many sparse ones are learned by heart"
    )
    inst_hidden: int = hp(128, choices=(128, 256), valid=_WIDTH, help="width of the conformer embedder and of attention")
    inst_layers: int = hp(3, of=(3, 5), valid=_DEPTH, help="residual blocks of the conformer embedder")
    inst_dropout: float = hp(0.10, of=(0.05, 0.15), valid=_DROP, help="dropout inside each conformer block")
    proj_dim: int = hp(
        256, choices=(256, 512), valid=_WIDTH, help="width to which 2D and pooled 3D are projected before fusion"
    )
    attn_heads: int = hp(8, choices=(8, 16, 32), valid=(1, 256), help="attention heads; must divide inst_hidden")
    attn_dropout: float = hp(0.10, of=(0.05, 0.2), valid=_DROP, help="dropout on the attention weights of each head")
    mixer_hidden: int = hp(128, choices=(128, 256), valid=_WIDTH, help="width of the fusion mixer and of the task embeddings")
    mixer_layers: int = hp(3, of=(3, 5), valid=_DEPTH, help="residual blocks of the mixer")
    mixer_dropout: float = hp(0.10, of=(0.05, 0.2), valid=_DROP, help="dropout inside each mixer block")
    mol_embedder_name: str = hp("mlp_v3_2d", registry="2d_embedder", help="2D embedder by name")
    inst_embedder_name: str = hp("mlp_v3_3d", registry="3d_embedder", help="conformer embedder by name")
    aggregator_name: str = hp("task_attention_pool", registry="aggregator", help="pooling of conformers by name")
    activation: str = hp("SiLU", choices=ACTIVATIONS, help="activation that gates every residual block")
    pool_from: str = hp("normed_inputs", valid=("normed_inputs", "inputs", "attn_out"), help="what attention pools")
    pool_v_mode: str = hp("tie_mha_v", valid=("tie_mha_v", "linear", "none"), help="value projection of the pool")
    use_temperature: bool = hp(False, help="learn the attention's temperature")
    topk_n: int = hp(0, valid=(0, 100_000), help="pool only the n most attended conformers (0: all)")
    topk_strategy: str = hp("renorm", valid=("renorm", "mean", "sum", "argmax"), help="weights within the top n")
    prune_below: float = hp(0.0, valid=(0.0, 0.999), help="drop conformers attended less than this (0: none)")
    residual_pooling: str = hp("none", valid=("none", "gate", "sum"), help="blend attention with mean pooling")


@dataclass(frozen=True)
class HeadConfig:
    """Prediction heads (seed 4.1)."""

    predictor_name: str = hp("mlp_v3", registry="predictor", help="prediction head family by name")
    head_num_layers: int = hp(2, choices=(2, 3, 4, 6), valid=_DEPTH, help="residual blocks of each head")
    head_dropout: float = hp(0.10, of=(0.0, 0.2), valid=_DROP, help="dropout inside each head block")
    head_stochastic_depth: float = hp(0.05, of=(0.0, 0.1), valid=_DROP, help="largest DropPath rate in the heads")
    head_fc2_gain_non_last: float = hp(
        3e-3, choices=(1e-3, 3e-3, 1e-2), valid=_UNIT, help="initial gain of the second Linear in all head blocks but the last"
    )


@dataclass(frozen=True)
class OptimizationConfig:
    """AdamW and the effective batch (seed 4.2)."""

    lr: float = hp(3e-4, of=(8e-5, 8e-4), log=True, valid=(1e-6, 0.1), help="AdamW learning rate")
    lr_schedule: str = hp(
        "constant",
        valid=("constant", "cosine", "onecycle"),
        help="learning rate over the steps; cosine: falls to 0 at --max_epochs; onecycle: rises first, then falls",
    )
    weight_decay: float = hp(3e-5, of=(3e-6, 3e-4), log=True, valid=(0.0, 1.0), help="AdamW weight decay")
    batch_size: int = hp(256, choices=(128, 256, 512), valid=(1, 65536), help="molecules in a batch")
    accumulate_grad_batches: int = hp(8, choices=(8, 16), valid=(1, 1024), help="batches whose gradients make one step")


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how it runs; not a hyperparameter, never part of a parameter file."""

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    num_workers: int = 0
    pin_memory: bool = False
    seed: int = 0


@dataclass(frozen=True)
class SamplerConfig:
    """Batch composition (seed 4.3, steps 1-7)."""

    rare_oversample_mult: float = hp(6.0, of=(2.0, 10.0), valid=(0.0, 1e3), help="extra weight of a sample of rarity 1")
    rare_target_prev: float = hp(0.09, of=(0.06, 0.12), valid=(1e-6, 1.0), help="prevalence below which a task is rare")
    sample_weight_cap: float = hp(7.5, of=(6.0, 9.0), valid=(1.0, 1e3), help="largest sample weight")
    use_balanced_batch_sampler: bool = hp(True, help="compose batches; false: plain shuffling")
    batch_pos_fraction: float = hp(0.35, valid=_UNIT, help="share of molecules positive somewhere in a batch")
    min_pos_per_batch: int = hp(1, valid=(0, 65536), help="fewest positives in a batch")
    enforce_bitmask_quota: bool = hp(True, help="reserve places for rare endpoints and multi-positives")
    quota_per_256: tuple[float, ...] = per_task("quota_per_256", help="positives reserved per 256")
    quota_multi_per_256: float = hp(8.0, valid=(0.0, 256.0), help="multi-positives reserved per 256")
    rare_prev_thr: float | None = hp(None, valid=(0.0, 1.0), help="legacy: a task is rare iff its prevalence is below this")


@dataclass(frozen=True)
class LossWeightingConfig:
    """Class imbalance and auxiliary losses (seed 4.3 and 4.4)."""

    posw_clip: tuple[float, ...] = per_task("posw_clip", log=True, help="largest positive weight of BCE")
    gamma: tuple[float, ...] = per_task("gamma", help="focal exponent")
    lam: tuple[float, ...] = per_task("lam", log=True, optional=True, help="raw weight of its loss")
    lam_floor: float = hp(0.6, of=(0.35, 0.85), valid=_UNIT, help="lower bound of a normalised task weight")
    lam_ceil: float = hp(1.75, of=(1.30, 2.20), valid=(1.0, 1e3), help="upper bound of a normalised task weight")
    lambda_power: float = hp(0.5, valid=(0.0, 4.0), help="without lam: weights are prevalence^-power")
    lambda_aux_abs: float = hp(0.2, of=(0.05, 0.5), valid=(0.0, 100.0), help="weight of the absorbance regression")
    lambda_aux_fluo: float = hp(0.2, of=(0.05, 0.5), valid=(0.0, 100.0), help="weight of the fluorescence regression")
    lambda_aux_bitmask: float = hp(0.05, of=(0.02, 0.08), valid=(0.0, 100.0), help="weight of the label-pattern head")
    reg_loss_type: str = hp("mse", valid=("mse", "smoothl1"), help="regression loss")
    use_bitmask_loss_weight: bool = hp(True, help="weight molecules by the rarity of their label pattern")
    bitmask_weight_alpha: float = hp(0.5, valid=(0.0, 4.0), help="exponent of that weight")
    bitmask_weight_cap: float = hp(3.0, valid=(1.0, 1e3), help="largest such weight")
    bitmask_group_top_k: int = hp(6, valid=(0, 1000), help="label patterns that are classes of their own (0: no such head)")
    bitmask_group_weight_alpha: float = hp(0.5, valid=(0.0, 4.0), help="exponent of the pattern classes' weights")
    bitmask_group_weight_cap: float = hp(5.0, valid=(1.0, 1e3), help="largest weight of a pattern class")


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a trial is scored by (seed 4.5; `min_w` is a setting of the study)."""

    objective_mode: str = hp("macro_plus_min", valid=("macro_plus_min",), help="(1 - min_w) macro AP + min_w worst AP")
    min_w: float = hp(0.3, of=(0.1, 0.6), valid=(0.1, 0.6), searched=False, help="weight of the worst task's AP")


@dataclass(frozen=True)
class HPOConfig:
    """All seven groups; `from_params` builds it from a flat parameter file, `to_params` is the reverse."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    loss: LossWeightingConfig = field(default_factory=LossWeightingConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    @classmethod
    def from_params(
        cls,
        params: Mapping[str, Any],
        tasks: TaskSet = EUOS25,
        *,
        runtime: RuntimeConfig | None = None,
        where: object = "parameters",
    ) -> "HPOConfig":
        """Read flat parameters; what is left out takes its default. Unknown names and impossible values are ConfigErrors.

        Values recorded beside the parameters (`best_value_...`) are skipped; legacy names and values are understood.
        """
        known = parameters(tasks)
        values = modern(params, tasks)
        for name in values:
            if name not in known:
                raise ConfigError(where, "unknown parameter", got=name, do=did_you_mean(name, known) or "remove it")
        checked = {name: known[name].checked(value, where) for name, value in values.items()}
        given = {name: value for name, value in checked.items() if value is not None}
        lam = [param.name for param in known.values() if param.field == "lam"]
        missing = [name for name in lam if name not in given]
        if missing and len(missing) < len(lam):
            raise ConfigError(where, f"{missing[0]} is missing", do=f"give all of {', '.join(lam)}, or none of them")
        groups: dict[str, dict[str, Any]] = {}
        for param in known.values():
            group = groups.setdefault(param.group, {})
            if param.index is None:
                group[param.field] = given.get(param.name, param.default)
            elif param.field != "lam" or not missing:
                group[param.field] = (*group.get(param.field, ()), given.get(param.name, param.default))
        config = cls(
            backbone=BackboneConfig(**groups["backbone"]),
            head=HeadConfig(**groups["head"]),
            optimization=OptimizationConfig(**groups["optimization"]),
            sampler=SamplerConfig(**groups["sampler"]),
            loss=LossWeightingConfig(**groups["loss"]),
            objective=ObjectiveConfig(**groups["objective"]),
            runtime=runtime or RuntimeConfig(),
        )
        check_heads(config.backbone.inst_hidden, config.backbone.attn_heads, where)
        return config

    def to_params(self, tasks: TaskSet = EUOS25) -> dict[str, Any]:
        """Every hyperparameter by its flat name, complete: `from_params` of it gives this config back."""
        out = {}
        for param in parameters(tasks).values():
            value = getattr(getattr(self, param.group), param.field)
            if param.index is None:
                out[param.name] = value
            elif value:
                out[param.name] = value[param.index]
        return {name: value for name, value in out.items() if value is not None}


_GROUPS = {
    "backbone": BackboneConfig,
    "head": HeadConfig,
    "optimization": OptimizationConfig,
    "sampler": SamplerConfig,
    "loss": LossWeightingConfig,
    "objective": ObjectiveConfig,
}


def parameters(tasks: TaskSet = EUOS25) -> dict[str, Param]:
    """Every hyperparameter by its flat name, in a fixed order, for these tasks."""
    return {param.name: param for group, cls in _GROUPS.items() for param in hyperparameters(group, cls, tasks)}


def check_heads(inst_hidden: int, attn_heads: int, where: object) -> None:
    """Attention needs inst_hidden to be a multiple of attn_heads."""
    if inst_hidden % attn_heads:
        raise ConfigError(
            where, f"inst_hidden={inst_hidden} is not a multiple of attn_heads={attn_heads}", do="change one of the two"
        )


def modern(params: Mapping[str, Any], tasks: TaskSet) -> dict[str, Any]:
    """Legacy names and values as today's; recorded values dropped."""
    out = {name: value for name, value in params.items() if not name.startswith("best_")}
    clip = out.pop("pos_weight_clip", None)
    if clip is not None:
        out = {**{f"posw_clip_t{t}": clip for t in range(len(tasks))}, **out}
    return out


def checked_pins(pins: Mapping[str, Any], tasks: TaskSet) -> dict[str, Any]:
    """Pinned parameters (`--fix NAME=VALUE`, text or values) as values; unknown or impossible ones are ConfigErrors."""
    known = _known(pins, "--fix", tasks)
    return {name: known[name].checked(known[name].parsed(value), f"--fix {name}") for name, value in pins.items()}


def checked_ranges(ranges: Mapping[str, str], tasks: TaskSet) -> dict[str, Param]:
    """Parameters searched over another range than their own (`--range NAME=LOW:HIGH` or `NAME=a,b`); wrong: ConfigError."""
    known = _known(ranges, "--range", tasks)
    changed = {name: known[name].over(text, f"--range {name}") for name, text in ranges.items()}
    return {name: param for name, param in changed.items() if param != known[name]}


def _known(names: Iterable[str], flag: str, tasks: TaskSet) -> dict[str, Param]:
    known = parameters(tasks)
    for name in names:
        if name not in known:
            raise ConfigError(f"{flag} {name}", "unknown parameter", do=did_you_mean(name, known) or "see `milbench params`")
    return known


def search_space(
    trial: Any,
    tasks: TaskSet = EUOS25,
    *,
    fixed: Mapping[str, Any] | None = None,
    ranges: Mapping[str, Param] | None = None,
    search_min_w: bool = False,
) -> dict[str, Any]:
    """Ask an Optuna trial for every searched parameter (seed 4.1-4.5); `fixed` ones keep their value.

    Returns the flat dict that `HPOConfig.from_params` takes. `ranges` (see `checked_ranges`) replace a parameter's own;
    `search_min_w` restores the seed's literal search of min_w.
    """
    fixed = dict(fixed or {})
    out: dict[str, Any] = {}
    for name, param in (parameters(tasks) | dict(ranges or {})).items():
        if name in fixed:
            out[name] = fixed[name]
        elif param.is_searched or (name == "min_w" and search_min_w):
            out[name] = param.suggested(trial)
    check_heads(out["inst_hidden"], out["attn_heads"], "search space")
    return out


def check_search_space(tasks: TaskSet, fixed: Mapping[str, Any], ranges: Mapping[str, Param] | None = None) -> None:
    """No parameter is both pinned and searched, and every width and head count that the search may pair must fit."""
    ranges = ranges or {}
    both = sorted(set(fixed) & set(ranges))
    if both:
        raise ConfigError(f"--range {both[0]}", f"is pinned by --fix {both[0]}={fixed[both[0]]}", do="leave out one of the two")
    known = parameters(tasks) | dict(ranges)
    widths, heads = (
        [fixed[name]] if name in fixed else known[name].choices or _whole(known[name]) for name in ("inst_hidden", "attn_heads")
    )
    for width in widths:
        for count in heads:
            check_heads(width, count, "search space")


def _whole(param: Param) -> Sequence[int]:
    """Every whole number in the range."""
    return range(int(param.low or 0), int(param.high or 0) + 1)


@dataclass(frozen=True)
class MILBackboneConfig(BackboneConfig):
    """The backbone with its input widths: `mol_dim` = F2, `inst_dim` = F3."""

    mol_dim: int = 0
    inst_dim: int = 0


@dataclass(frozen=True)
class MILPredictorConfig(HeadConfig):
    """The heads with their counts: T endpoints, A and F auxiliaries, G label-pattern classes (0: no such head)."""

    n_tasks: int = 4
    n_abs: int = 2
    n_fluo: int = 4
    n_bitmask: int = 0


@dataclass(frozen=True)
class MILOptimizationConfig(OptimizationConfig):
    """The optimizer as the model is trained with it."""


@dataclass(frozen=True)
class MILLossConfig(LossWeightingConfig):
    """The loss as the model is trained with it."""


@dataclass(frozen=True)
class MILModelConfig:
    """Everything that `MILTaskAttnMixerWithAux.from_config` needs besides the loss tensors."""

    backbone: MILBackboneConfig
    predictor: MILPredictorConfig = field(default_factory=MILPredictorConfig)
    optimization: MILOptimizationConfig = field(default_factory=MILOptimizationConfig)
    loss: MILLossConfig = field(default_factory=MILLossConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "MILModelConfig":
        """The reverse of `to_dict`."""
        loss: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data["loss"].items()}
        return cls(
            MILBackboneConfig(**data["backbone"]),
            MILPredictorConfig(**data["predictor"]),
            MILOptimizationConfig(**data["optimization"]),
            MILLossConfig(**loss),
        )
