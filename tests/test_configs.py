"""Hyperparameters: the seed's section 4 as a table, parameter files, pins and legacy names."""

import dataclasses
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_tasks
from milbench.configs import (
    HPOConfig,
    RuntimeConfig,
    check_search_space,
    checked_pins,
    checked_ranges,
    parameters,
    search_space,
)
from milbench.data.composition import scaled_quota
from milbench.errors import ConfigError
from milbench.params import Param
from milbench.registry import AGGREGATORS
from milbench.tasks import EUOS25, TaskSet

# name: (low, high, log) as the seed has it in sections 4.1 to 4.4
RANGES = {
    "mol_layers": (2, 5, False),
    "mol_dropout": (0.10, 0.25, False),
    "inst_layers": (3, 5, False),
    "inst_dropout": (0.05, 0.15, False),
    "attn_dropout": (0.05, 0.2, False),
    "mixer_layers": (3, 5, False),
    "mixer_dropout": (0.05, 0.2, False),
    "head_dropout": (0.0, 0.2, False),
    "head_stochastic_depth": (0.0, 0.1, False),
    "lr": (8e-5, 8e-4, True),
    "weight_decay": (3e-6, 3e-4, True),
    "posw_clip_t0": (12, 28, True),
    "posw_clip_t1": (35, 90, True),
    "posw_clip_t2": (3, 10, True),
    "posw_clip_t3": (90, 220, True),
    "gamma_t0": (0.5, 2.0, False),
    "gamma_t1": (1.0, 3.0, False),
    "gamma_t2": (0.0, 1.5, False),
    "gamma_t3": (1.5, 4.0, False),
    "rare_oversample_mult": (2.0, 10.0, False),
    "rare_target_prev": (0.06, 0.12, False),
    "sample_weight_cap": (6.0, 9.0, False),
    "lam_t0": (0.6, 1.6, True),
    "lam_t1": (1.0, 2.4, True),
    "lam_t2": (0.25, 0.9, True),
    "lam_t3": (1.8, 3.5, True),
    "lam_floor": (0.35, 0.85, False),
    "lam_ceil": (1.30, 2.20, False),
    "lambda_aux_abs": (0.05, 0.5, False),
    "lambda_aux_fluo": (0.05, 0.5, False),
    "lambda_aux_bitmask": (0.02, 0.08, False),
}
CHOICES = {
    "mol_hidden": (128, 256),
    "inst_hidden": (128, 256),
    "proj_dim": (256, 512),
    "attn_heads": (8, 16, 32),
    "mixer_hidden": (128, 256),
    "head_num_layers": (2, 3, 4, 6),
    "head_fc2_gain_non_last": (1e-3, 3e-3, 1e-2),
    "activation": ("GELU", "SiLU", "Mish", "ReLU", "LeakyReLU"),
    "batch_size": (128, 256, 512),
    "accumulate_grad_batches": (8, 16),
}
FIXED = {
    "mol_embedder_name": "mlp_v3_2d",
    "inst_embedder_name": "mlp_v3_3d",
    "aggregator_name": "task_attention_pool",
    "predictor_name": "mlp_v3",
    "use_balanced_batch_sampler": True,
    "batch_pos_fraction": 0.35,
    "min_pos_per_batch": 1,
    "enforce_bitmask_quota": True,
    "quota_t450_per_256": 4,
    "quota_fgt480_per_256": 1,
    "quota_multi_per_256": 8,
    "use_bitmask_loss_weight": True,
    "bitmask_weight_alpha": 0.5,
    "bitmask_weight_cap": 3.0,
    "bitmask_group_top_k": 6,
    "bitmask_group_weight_alpha": 0.5,
    "bitmask_group_weight_cap": 5.0,
    "reg_loss_type": "mse",
    "objective_mode": "macro_plus_min",
    "pool_from": "normed_inputs",
    "pool_v_mode": "tie_mha_v",
    "use_temperature": False,
}


class Recorder:
    """A trial that writes down what it is asked and answers with the first or last value."""

    def __init__(self, last: bool = False) -> None:
        self.asked: dict[str, Any] = {}
        self.last = last

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.asked[name] = (low, high, log)
        return high if self.last else low

    suggest_int = suggest_float

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.asked[name] = tuple(choices)
        return choices[-1 if self.last else 0]


def test_the_search_space_is_the_seeds_name_by_name() -> None:
    trial = Recorder()
    params = search_space(trial)
    assert trial.asked == {**RANGES, **CHOICES}
    assert set(params) == set(trial.asked)


def test_what_is_not_searched_has_the_seeds_value() -> None:
    known = parameters()
    assert {name: known[name].default for name in FIXED} == FIXED
    assert not any(known[name].is_searched for name in FIXED)
    assert known["quota_t340_per_256"].default == known["quota_f340_per_256"].default == 0


@pytest.mark.parametrize("last", [False, True])
def test_both_ends_of_every_range_make_a_configuration(last: bool) -> None:
    params = search_space(Recorder(last))
    config = HPOConfig.from_params(params)
    assert config.optimization.lr == (8e-4 if last else 8e-5)
    assert config.loss.gamma == ((2.0, 3.0, 1.5, 4.0) if last else (0.5, 1.0, 0.0, 1.5))


def test_whole_numbers_are_asked_for_as_such() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    params = search_space(trial)
    assert all(type(params[name]) is int for name in ("mol_layers", "inst_layers", "mixer_layers"))
    assert HPOConfig.from_params(trial.params) == HPOConfig.from_params(params)


def test_min_w_is_a_setting_unless_the_seeds_literal_search_is_asked_for() -> None:
    assert parameters()["min_w"].default == 0.3
    trial = Recorder()
    assert "min_w" in search_space(trial, search_min_w=True)
    assert trial.asked["min_w"] == (0.1, 0.6, False)


def test_a_pinned_parameter_is_not_asked_for() -> None:
    trial = Recorder()
    params = search_space(trial, fixed={"lr": 2e-4, "gamma_t1": 1.25, "topk_n": 5})
    assert not {"lr", "gamma_t1", "topk_n"} & set(trial.asked)
    assert (params["lr"], params["gamma_t1"], params["topk_n"]) == (2e-4, 1.25, 5)


def test_a_second_registered_part_makes_its_name_a_choice() -> None:
    AGGREGATORS.register("another", object, search=True)
    try:
        trial = Recorder()
        search_space(trial)
        assert trial.asked["aggregator_name"] == ("task_attention_pool", "another")
    finally:
        AGGREGATORS.unregister("another")
    assert not parameters()["aggregator_name"].is_searched


def any_value(param: Param) -> st.SearchStrategy[Any]:
    if param.kind is str:
        return st.sampled_from(param.choices or param.valid or (param.default,))
    if param.kind is bool:
        return st.booleans()
    low, high = param.valid
    if param.kind is int:
        return st.integers(int(low), int(high))
    return st.floats(low, high, allow_nan=False)


@st.composite
def any_params(draw: st.DrawFn, tasks: TaskSet) -> dict[str, Any]:
    known = parameters(tasks)
    names = draw(st.sets(st.sampled_from(sorted(set(known) - {"inst_hidden", "attn_heads"}))))
    params = {name: draw(any_value(known[name])) for name in sorted(names)}
    lam = [name for name in known if known[name].field == "lam"]
    if any(name in params for name in lam):
        params |= {name: draw(any_value(known[name])) for name in lam}
    heads = draw(st.integers(1, 64))
    return {**params, "attn_heads": heads, "inst_hidden": heads * 8}


@pytest.mark.parametrize("tasks", [EUOS25, make_tasks(1), make_tasks(7)], ids=lambda tasks: tasks.name)
@given(data=st.data())
def test_parameters_survive_the_round_trip_through_a_configuration(tasks: TaskSet, data: st.DataObject) -> None:
    params = data.draw(any_params(tasks))
    config = HPOConfig.from_params(params, tasks)
    flat = config.to_params(tasks)
    assert HPOConfig.from_params(flat, tasks) == config
    assert {name: flat[name] for name in params} == params


def test_the_seven_groups_have_their_names() -> None:
    groups = [type(getattr(HPOConfig(), f.name)).__name__ for f in dataclasses.fields(HPOConfig)]
    expected = ["Backbone", "Head", "Optimization", "Runtime", "Sampler", "LossWeighting", "Objective"]
    assert groups == [f"{name}Config" for name in expected]


def test_the_runtime_is_handed_through_and_never_part_of_the_parameters() -> None:
    runtime = RuntimeConfig(seed=7, accelerator="cpu")
    config = HPOConfig.from_params({}, runtime=runtime)
    assert config.runtime == runtime
    assert not {f.name for f in dataclasses.fields(RuntimeConfig)} & set(config.to_params())


def test_recorded_values_beside_the_parameters_are_skipped() -> None:
    recorded = {"best_value_macro_ap_cv": 0.61, "best_trial": 12, "lr": 1e-4}
    assert HPOConfig.from_params(recorded) == HPOConfig.from_params({"lr": 1e-4})


def test_legacy_names_and_values_are_understood() -> None:
    config = HPOConfig.from_params(
        {
            "rare_prev_thr": 0.02,
            "lambda_power": 0.7,
            "pos_weight_clip": 50.0,
            "mol_embedder_name": "mlp_v3",
            "inst_embedder_name": "mlp_v3",
            "posw_clip_t2": 8.0,
        }
    )
    assert config.sampler.rare_prev_thr == 0.02
    assert config.loss.lambda_power == 0.7
    assert config.loss.posw_clip == (50.0, 50.0, 8.0, 50.0)
    assert config.loss.lam == ()
    assert HPOConfig.from_params(config.to_params()) == config


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"mol_hiden": 128}, "params.json: unknown parameter, got 'mol_hiden'; did you mean 'mol_hidden'?"),
        ({"gamma_t4": 1.0}, "unknown parameter, got 'gamma_t4'; did you mean 'gamma_t"),
        ({"zzz": 1}, "unknown parameter, got 'zzz'; remove it"),
        ({"lr": 2.0}, "lr is out of range, got 2.0, want from 1e-06 to 0.1 (searched: 8e-05 to 0.0008 (log))"),
        ({"mol_dropout": float("nan")}, "mol_dropout is out of range, got nan"),
        ({"mol_layers": 2.5}, "mol_layers has the wrong type, got 2.5, want int"),
        ({"mol_layers": True}, "mol_layers has the wrong type, got True, want int"),
        ({"use_temperature": 1}, "use_temperature has the wrong type, got 1, want bool"),
        ({"lr": "1e-4"}, "lr has the wrong type, got '1e-4', want float"),
        ({"mol_hidden": None}, "mol_hidden has the wrong type"),
        ({"activation": "Swish"}, "activation is not a choice, got 'Swish', want GELU, SiLU"),
        ({"pool_from": "out"}, "pool_from is not a choice, got 'out', want normed_inputs, inputs, attn_out"),
        ({"aggregator_name": "mean"}, "want one of gated_attention, max_pool, mean_pool, task_attention_pool"),
        ({"min_w": 0.05}, "min_w is out of range, got 0.05, want from 0.1 to 0.6"),
        ({"lam_t0": 1.0, "lam_t2": 0.5}, "lam_t1 is missing; give all of lam_t0, lam_t1, lam_t2, lam_t3, or none of them"),
        ({"lam_t0": 1.0, "lam_t1": 1.0, "lam_t2": 0.5, "lam_t3": None}, "lam_t3 is missing"),
        ({"inst_hidden": 100, "attn_heads": 8}, "inst_hidden=100 is not a multiple of attn_heads=8; change one of the two"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_impossible_parameter_file_is_one_line_that_says_what_would_be_right(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HPOConfig.from_params(params, where="params.json")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lam_of_null_everywhere_means_that_there_is_none() -> None:
    assert HPOConfig.from_params({f"lam_t{t}": None for t in range(4)}).loss.lam == ()


def test_whole_floats_serve_as_integers_and_integers_as_floats() -> None:
    config = HPOConfig.from_params({"mol_layers": 4.0, "posw_clip_t0": 20})
    assert type(config.backbone.mol_layers) is int
    assert type(config.loss.posw_clip[0]) is float


def test_pins_are_read_from_text_and_checked() -> None:
    pins = checked_pins({"lr": "2e-4", "mol_layers": "4", "use_temperature": "true", "activation": "GELU", "topk_n": 3}, EUOS25)
    assert pins == {"lr": 2e-4, "mol_layers": 4, "use_temperature": True, "activation": "GELU", "topk_n": 3}
    for wrong in ({"lr": "fast"}, {"mol_layers": "2.5"}, {"use_temperature": "perhaps"}, {"learning_rate": "1"}, {"lr": "7"}):
        with pytest.raises(ConfigError, match=f"--fix {next(iter(wrong))}"):
            checked_pins(wrong, EUOS25)


def test_a_search_range_is_narrowed_widened_or_made_by_text_and_the_trial_is_asked_for_it() -> None:
    texts = {"lr": "1e-4:2e-4", "batch_size": "32, 64", "mol_layers": "1:2", "topk_n": "0:8", "use_temperature": "true,false"}
    ranges = checked_ranges({**texts, "lam_t0": "1,2", "gamma_t0": "0.5:2"}, EUOS25)
    assert "gamma_t0" not in ranges  # its own range: nothing was changed
    trial = Recorder()
    search_space(trial, ranges=ranges)
    assert {name: trial.asked[name] for name in ranges} == {
        "lr": (1e-4, 2e-4, True),
        "batch_size": (32, 64),
        "mol_layers": (1, 2, False),
        "topk_n": (0, 8, False),
        "use_temperature": (True, False),
        "lam_t0": (1.0, 2.0),
    }
    assert {k: v for k, v in trial.asked.items() if k not in ranges} == {
        k: v for k, v in {**RANGES, **CHOICES}.items() if k not in ranges
    }
    flags = {name: param.range_flag for name, param in ranges.items()}
    again = checked_ranges({name: flag.partition("=")[2] for name, flag in flags.items()}, EUOS25)
    assert again == ranges
    assert flags["lr"] == "lr=0.0001:0.0002"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lr", "fast:2", "lr has the wrong type, got 'fast', want float from 1e-06 to 0.1"),
        ("lr", "2e-4:1e-4", "got '2e-4:1e-4', want LOW:HIGH with LOW below HIGH"),
        ("lr", "1e-4:1e-4", "want LOW:HIGH with LOW below HIGH"),
        ("lr", "1e-4:0.5", "lr is out of range, got 0.5"),
        ("lr", "1e-4", "needs two or more values, got '1e-4'; use --fix lr=1e-4"),
        ("lr", "1e-4,1e-4", "needs two or more values"),
        ("lr", ":", "lr has the wrong type, got ''"),
        ("weight_decay", "0:1e-4", "LOW below HIGH and above 0, since the scale is logarithmic"),
        ("mol_layers", "2.5:4", "mol_layers has the wrong type, got '2.5', want int"),
        ("activation", "GELU:SiLU", "activation has no range, got 'GELU:SiLU', want values separated by commas"),
        ("activation", "GELU,Swish", "activation is not a choice, got 'Swish'"),
        ("learning_rate", "1:2", "unknown parameter"),
    ],
)
def test_an_impossible_search_range_is_one_line_that_names_the_flag(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_ranges({name: text}, EUOS25)
    assert str(caught.value).startswith(f"--range {name}")
    assert said in str(caught.value)


def test_changed_ranges_may_not_pair_a_width_with_heads_that_do_not_divide_it_nor_be_pinned() -> None:
    check_search_space(EUOS25, {}, checked_ranges({"inst_hidden": "64,128", "attn_heads": "4,8"}, EUOS25))
    for texts, fixed in (({"inst_hidden": "64,100"}, {}), ({"attn_heads": "7:9"}, {"inst_hidden": 72})):
        with pytest.raises(ConfigError, match="is not a multiple"):
            check_search_space(EUOS25, fixed, checked_ranges(texts, EUOS25))
    with pytest.raises(ConfigError, match=r"--range lr: is pinned by --fix lr=0.0003; leave out one"):
        check_search_space(EUOS25, {"lr": 3e-4}, checked_ranges({"lr": "1e-4:2e-4"}, EUOS25))


def test_a_width_that_some_head_count_does_not_divide_is_told_before_the_first_trial() -> None:
    check_search_space(EUOS25, {})
    check_search_space(EUOS25, {"inst_hidden": 24, "attn_heads": 8})
    with pytest.raises(ConfigError, match="inst_hidden=24 is not a multiple of attn_heads=16"):
        check_search_space(EUOS25, {"inst_hidden": 24})
    with pytest.raises(ConfigError, match="is not a multiple"):
        search_space(Recorder(), fixed={"inst_hidden": 130})


def test_other_tasks_have_parameters_of_their_own() -> None:
    names = set(parameters(make_tasks(3)))
    assert {"gamma_t0", "gamma_t2", "posw_clip_t2", "lam_t2", "quota_t0_per_256", "quota_t2_per_256"} <= names
    assert not {"gamma_t3", "quota_t450_per_256"} & names


def test_every_default_is_valid_and_every_parameter_says_what_it_is() -> None:
    for param in parameters().values():
        assert param.checked(param.default, "default") == param.default
        assert len(param.help) > 10
        if param.low is not None:
            assert param.valid[0] <= param.low < param.high <= param.valid[1]
            assert param.low <= param.default <= param.high
        if param.choices:
            assert param.default in param.choices


@pytest.mark.parametrize(
    ("per_256", "batch", "places"), [(4, 256, 4), (4, 128, 2), (1, 128, 1), (1, 512, 2), (8, 32, 1), (0, 256, 0), (0.5, 256, 1)]
)
def test_quotas_scale_from_256(per_256: float, batch: int, places: int) -> None:
    assert scaled_quota(per_256, batch) == places
