"""What a study is asked to do is checked before it starts, and its command line means just that."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from builders import make_bags
from milbench.configs import parameters
from milbench.data.manifest import load_labels
from milbench.data.store import save_store
from milbench.errors import ConfigError, StudyError
from milbench.launch import (
    LaunchPlan,
    beyond,
    chosen_in,
    free_name,
    in_app,
    new_study_folder,
    own_folds,
    preview_batches,
    searched,
    setting_of,
    settings_of,
    steps_of,
    study_folder,
)
from milbench.pipeline import PipelineConfigFactory
from milbench.promote_ui import final_name
from milbench.run_config import PipelineConfig
from milbench.search_ui import budget_controls, budget_layout, budget_of, preview_words
from milbench.tasks import EUOS25

KNOWN = parameters()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_store(tmp_path_factory.mktemp("launch") / "store", make_bags(200), EUOS25, provenance={})


def plan(store: Path, **changes: object) -> LaunchPlan:
    return LaunchPlan(store, store.parent / "study", **changes)  # type: ignore[arg-type]


def test_the_command_line_means_the_plan(store: Path) -> None:
    made = plan(store, trials=7, folds=3, fix=("lr=0.001", "batch_size=64"), range=("mol_layers=2:3",), precision="bf16-mixed")
    command, *args = made.command
    assert command == "hpo"
    parsed = PipelineConfigFactory().parse(args)
    for name in vars(made).keys() - {"workers"}:
        assert getattr(parsed, name) == getattr(made, name)
    assert shlex.split(made.text) == ["milbench", *made.command]


def test_an_app_says_what_is_wrong_without_the_command_lines_flags(store: Path) -> None:
    for text, said in (("colour=1", "colour: unknown parameter"), ("batchsize=1", "did you mean 'batch_size'")):
        with pytest.raises(ConfigError) as raised:
            plan(store, fix=(text,)).checked()
        assert said in str(in_app(raised.value))
        assert "--fix" not in str(in_app(raised.value))


def test_defaults_are_those_of_the_command() -> None:
    for name, default in vars(LaunchPlan(Path("a"), Path("b"))).items():
        if name not in {"store", "study_dir", "workers"}:
            assert default == getattr(PipelineConfig, name)


def test_every_searched_parameter_is_in_one_group() -> None:
    names = [param.name for group in searched(EUOS25).values() for param in group]
    assert sorted(names) == sorted(name for name, param in KNOWN.items() if param.is_searched)


def test_a_control_left_alone_changes_nothing_and_both_ends_at_one_place_pin() -> None:
    for group in searched(EUOS25).values():
        for param in group:
            own = chosen_in(param, {})
            assert setting_of(param, own) is None
            steps = steps_of(param) if not param.choices else list(param.choices)
            one = steps[len(steps) // 2]
            kind, text = setting_of(param, [one] if param.choices else [one, one]) or ("", "")
            assert kind == "fix"
            assert text.startswith(f"{param.name}=")


def test_a_narrowed_control_is_a_range_that_the_command_takes(store: Path) -> None:
    chosen = {"lr": [1e-4, 4e-4], "batch_size": [128, 256], "mol_layers": [2.0, 3.0], "gamma_t0": [0.5, 2.0]}
    settings = settings_of(EUOS25, chosen, "topk_n=0:4\nactivation = GELU; quota_t450_per_256=6")
    assert settings == {
        "fix": ("activation=GELU", "quota_t450_per_256=6"),
        "range": ("lr=0.0001:0.0004", "batch_size=128,256", "mol_layers=2:3", "topk_n=0:4"),
    }
    run = plan(store, **settings).checked()
    assert (run.ranges["lr"].low, run.ranges["lr"].high) == (1e-4, 4e-4)
    assert run.pins == {"activation": "GELU", "quota_t450_per_256": 6.0}


def test_a_control_finds_itself_again_from_the_url() -> None:
    steps = steps_of(KNOWN["lr"])
    for ends in ([steps[3], steps[17]], [steps[5], steps[5]]):
        setting = setting_of(KNOWN["lr"], ends)
        assert setting is not None
        name, _, value = setting[1].partition("=")
        assert chosen_in(KNOWN["lr"], {name: value}) == ends
    assert chosen_in(KNOWN["batch_size"], {"batch_size": "128,512"}) == [128, 512]
    assert chosen_in(KNOWN["lr"], {"lr": "nonsense"}) == [8e-5, 8e-4]


def test_what_no_control_can_show_is_kept_as_text() -> None:
    steps = steps_of(KNOWN["lr"])
    shown = {"lr": f"{steps[3]}:{steps[9]}", "mol_layers": "3", "activation": "GELU"}
    hidden = {"batch_size": "32", "gamma_t0": "9", "topk_n": "3", "weight_decay": "1e-9:1e-4", "attn_heads": "4,8"}
    assert beyond(EUOS25, shown | hidden) == hidden


def test_a_slider_stops_at_both_ends_of_the_range() -> None:
    for name in ("lr", "mol_dropout", "inst_layers", "posw_clip_t3"):
        steps = steps_of(KNOWN[name])
        assert (steps[0], steps[-1]) == (KNOWN[name].low, KNOWN[name].high)
        assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": 1}, "--folds: got 1, want 2 or more"),
        ({"workers": 0}, "--workers: got 0, want 1 or more"),
        ({"min_w": 0.9}, "--min_w: got 0.9, want 0.1 to 0.6"),
        ({"trials": 0}, "--trials: got 0, want 1 or more"),
        ({"fix": ("lr=5",)}, "--fix lr: lr is out of range"),
        ({"fix": ("lr",)}, "--fix: got 'lr', want NAME=VALUE"),
        ({"fix": ("min_w=0.2",)}, "min_w: is a setting of the study"),
        ({"range": ("nothing=1:2",)}, "--range nothing: unknown parameter"),
        ({"fix": ("inst_hidden=20",)}, "inst_hidden=20 is not a multiple of attn_heads=8"),
    ],
)
def test_an_impossible_plan_is_one_line(store: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(store, **changes).checked()
    assert said in str(caught.value)


def test_a_parameter_without_a_value_left_is_told() -> None:
    with pytest.raises(ConfigError, match="activation: has no value left; choose one"):
        setting_of(KNOWN["activation"], [])


@pytest.mark.parametrize("name", ["", "a b", "../out", "a//b", "/etc", "a;b"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="Name: got"):
        new_study_folder(tmp_path, name)


@pytest.mark.parametrize(
    ("study", "name"), [("demo/study", "finals/demo-study-trial3"), ("my study", "finals/my-study-trial3")]
)
def test_the_folder_that_is_offered_for_a_final_model_is_one_that_is_taken(tmp_path: Path, study: str, name: str) -> None:
    assert study_folder(tmp_path, final_name(study, 3)) == tmp_path / name


def test_a_study_is_not_started_over_another(tmp_path: Path) -> None:
    assert new_study_folder(tmp_path, "mine/first") == tmp_path / "mine" / "first"
    (tmp_path / "search-1").mkdir()
    (tmp_path / "search-1" / "study.db").touch()
    with pytest.raises(StudyError, match="search-1: is there already; choose another name"):
        new_study_folder(tmp_path, "search-1")
    assert free_name(tmp_path, "search") == "search-2"


def test_the_preview_shows_the_batches_that_the_first_fold_will_draw(store: Path) -> None:
    labels = load_labels(store)
    shown = preview_batches(labels, plan(store, folds=4, fix=("batch_size=32",)))
    assert shown.batch_size == 32
    assert shown.molecules == pytest.approx(150, abs=4)
    assert len(shown.batches) == -(-shown.molecules // 32)
    np.testing.assert_allclose(shown.summary["mean"], [shown.batches[f"t{t}"].mean() for t in range(4)])
    assert shown.rarest["positives"] == shown.summary["positives"].min()


def test_a_batch_of_more_places_than_there_are_molecules_says_so(store: Path) -> None:
    labels = load_labels(store)
    large, small = (preview_words(preview_batches(labels, plan(store, folds=2, fix=(f"batch_size={n}",)))) for n in (256, 32))
    assert "**1 batch of 256** from 100 molecules" in large
    assert " of the 256 places in a batch** (plain shuffling: " in large
    assert "a batch holds each 2.6 times on average" in large
    assert "**4 batches of 32** from 100 molecules" in small
    assert "fewer molecules than places" not in small


def test_a_store_with_folds_of_its_own_leaves_no_choice_of_their_number(store: Path, tmp_path: Path) -> None:
    bags = make_bags(200)
    bags.split[:20], bags.fold[20:] = "leaderboard", np.arange(180) % 4
    own = load_labels(save_store(tmp_path / "store", bags, EUOS25, provenance={}))
    assert (own_folds(own), own_folds(load_labels(store))) == (4, 0)
    for brought, asked in ((0, {"folds"}), (4, set[str]())):
        budget = budget_controls(brought)
        costs = budget_of(budget.value | {name: 3 for name in asked})
        assert costs.keys() & {"folds"} == asked
        assert ("--folds" in plan(store, **costs).command) == bool(asked)
        said = "".join(line.text for line in budget_layout(budget, brought))
        assert ("Folds: the store brings its own 4." in said) == (not asked)


def test_a_turned_knob_changes_the_preview(store: Path) -> None:
    labels = load_labels(store)
    fixed = ("batch_size=64", "batch_pos_fraction=0.9")
    low, high = (preview_batches(labels, plan(store, folds=4, fix=fix)) for fix in (("batch_size=64",), fixed))
    assert high.summary["mean"].sum() > low.summary["mean"].sum()
