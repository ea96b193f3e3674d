"""Tasks are data: EUOS25 is a preset, and nothing else knows its names."""

import json
from pathlib import Path

import pytest

import milbench
from builders import make_tasks
from milbench.configs import HPOConfig, parameters
from milbench.errors import ConfigError, DataError, MilbenchError
from milbench.tasks import EUOS25, AuxTarget, Endpoint, TaskSet, load_tasks


def test_the_preset_is_the_specified_table() -> None:
    rows = [(e.label, e.weight, e.ap_weighted, e.quota_per_256) for e in EUOS25.endpoints]
    assert rows == [
        ("Transmittance_340", "sample_weight_340", True, 0),
        ("Transmittance_450", "sample_weight_450", True, 4),
        ("Fluorescence_340_450", "w_ad", False, 0),
        ("Fluorescence_more_than_480", "w_ad", False, 1),
    ]
    assert [(a.column, a.weight) for a in EUOS25.aux_abs] == [
        ("Transmittance_340_quantitative", "sample_weight_340"),
        ("Transmittance_450_quantitative", "sample_weight_450"),
    ]
    assert [a.column for a in EUOS25.aux_fluo] == ["wl_pred_nm", "qy_pred", "wl_pred_nm", "qy_pred"]
    assert {a.weight for a in EUOS25.aux_fluo} == {"w_ad"}


def test_no_other_module_of_the_core_knows_the_names_of_euos25() -> None:
    folder = Path(milbench.__file__).parent
    own = {"tasks.py", "demo.py"}
    words = [*EUOS25.target_columns]
    knowing = [p.name for p in folder.rglob("*.py") if p.name not in own and any(w in p.read_text() for w in words)]
    assert knowing == []


@pytest.mark.parametrize("tasks", [EUOS25, make_tasks(1), make_tasks(7, 1, 2)], ids=lambda tasks: tasks.name)
def test_a_task_set_survives_json(tasks: TaskSet, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps(tasks.to_dict()))
    assert load_tasks(str(tmp_path / "tasks.json")) == tasks


def test_a_task_set_is_read_from_toml(tmp_path: Path) -> None:
    (tmp_path / "tasks.toml").write_text(
        'name = "mine"\nendpoints = [{ name = "Tox", weight = "w", gamma = [0.0, 2.0], quota_per_256 = 2 }]\n'
        '[[aux_abs]]\ncolumn = "logS"\n'
    )
    expected = TaskSet("mine", (Endpoint("Tox", weight="w", gamma=(0.0, 2.0), quota_per_256=2),), (AuxTarget("logS"),))
    assert load_tasks(str(tmp_path / "tasks.toml")) == expected


def test_the_preset_goes_by_its_name() -> None:
    assert load_tasks("euos25") is EUOS25
    assert load_tasks("EUOS25") is EUOS25


def one(setting: str) -> str:
    """A file that says one thing of endpoint b."""
    return f'name = "a"\nendpoints = [{{ name = "b", {setting} }}]'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('name = "a"', "not a task set ('endpoints')"),
        ('name = "a"\nendpoints = []', "endpoints, got 0, want 1 to 62"),
        ('name = "a"\nendpoints = ["b"]', "not a task set"),
        ('name = "a"\nendpoints = [{ name = "b", wieght = "w" }]', "not a task set"),
        ('name = "a"\nendpoints = [{ name = "b" }]\naux_flou = []', "unknown key, got 'aux_flou'"),
        ('name = "a"\nendpoints = [{ name = "b" }, { name = "b" }]', "endpoint named twice, got 'b'"),
        ('name = "a"\nendpoints = [{ name = "b", short = "multi" }]', "short names, got 'multi'"),
        ('name = "a"\nendpoints = [{ name = "b", short = "t1" }, { name = "c" }]', "short names, got 't1, t1'"),
        ("name = ", "not valid TOML"),
        ('name = 3\nendpoints = [{ name = "b" }]', "tasks.toml, name: got 3, want text"),
        (one("gamma = 2.0"), "endpoint b, gamma: got 2.0, want a search range [low, high]; write [2.0, 2.0] for one value"),
        (
            one("posw_clip = [28, 12]"),
            "endpoint b, posw_clip: got [28, 12], want [low, high], low not above high, both from 1 to",
        ),
        (one("posw_clip = [0, 10]"), "endpoint b, posw_clip: got [0, 10], want [low, high]"),
        (one("lam = [1, 2, 3]"), "endpoint b, lam: got [1, 2, 3], want [low, high]"),
        (one('lam = ["1", 2]'), "endpoint b, lam: got ['1', 2], want [low, high]"),
        (one("gamma = [nan, nan]"), "endpoint b, gamma: got [nan, nan], want [low, high]"),
        (one("quota_per_256 = -3"), "endpoint b, quota_per_256: got -3, want a number from 0 to 256"),
        (one("quota_per_256 = [1, 2]"), "endpoint b, quota_per_256: got [1, 2], want a number"),
        (one("quota_per_256 = true"), "endpoint b, quota_per_256: got True, want a number"),
        (one("ap_weighted = 1"), "endpoint b, ap_weighted: got 1, want true or false"),
        (one("weight = 1"), "endpoint b, weight: got 1, want text"),
        (one("column = 7"), "endpoint b, column: got 7, want text"),
        (
            'name = "a"\nendpoints = [{ name = "b" }]\naux_abs = [{ column = "c", weight = 2 }]',
            "aux_abs c, weight: got 2, want text",
        ),
    ],
)
def test_a_wrong_task_file_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "tasks.toml").write_text(content)
    with pytest.raises(MilbenchError) as caught:
        load_tasks(str(tmp_path / "tasks.toml"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content"), [("tasks.json", b'["a"]'), ("tasks.toml", b"name = '\xff'")])
def test_a_file_of_something_else_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MilbenchError, match=r"tasks\.json: not a task set, got 'list', want a mapping of name|not valid TOML"):
        load_tasks(str(tmp_path / name))


def test_one_value_is_a_range_of_its_own_endpoint(tmp_path: Path) -> None:
    (tmp_path / "tasks.toml").write_text(
        'name = "a"\nendpoints = [{ name = "b" }, { name = "c", gamma = [2.0, 2.0], lam = [0.3, 0.3] }]'
    )
    tasks = load_tasks(str(tmp_path / "tasks.toml"))
    known = parameters(tasks)
    assert (known["gamma_t1"].default, known["lam_t1"].default) == (2.0, 0.3)
    assert known["quota_t1_per_256"].default == 0.0
    config = HPOConfig.from_params({}, tasks)
    assert (config.loss.gamma, config.sampler.quota_per_256) == ((2.0, 2.0), (0.0, 0.0))
    config = HPOConfig.from_params({"gamma_t0": 1.0}, tasks)
    assert config.loss.gamma == (1.0, 2.0)


def test_an_unknown_preset_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--tasks: got 'euos26', want a preset \(euos25\) or a \.toml or \.json file"):
        load_tasks("euos26")
    for name in ("no.toml", "no.json"):
        with pytest.raises(DataError, match="no such file"):
            load_tasks(str(tmp_path / name))


def test_more_endpoints_than_a_bit_mask_holds_are_refused() -> None:
    assert len(make_tasks(62)) == 62
    with pytest.raises(ConfigError, match="endpoints, got 63, want 1 to 62"):
        make_tasks(63)


def test_target_columns_are_named_once_each() -> None:
    columns = EUOS25.target_columns
    assert len(columns) == len(set(columns)) == 11
    assert {"w_ad", "qy_pred", "Transmittance_340"} <= set(columns)


def test_an_error_is_one_line_of_place_finding_and_remedy() -> None:
    error = DataError("labels.csv", row=17, column="Transmittance_340", got="abc", want="0, 1 or empty", do="mend\n it")
    assert str(error) == "labels.csv, row 17, column Transmittance_340: got 'abc', want 0, 1 or empty; mend it"
    assert str(ConfigError("--folds", "too few")) == "--folds: too few"
