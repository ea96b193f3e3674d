"""The command line: flags and defaults, one line for each mistake, exit statuses, kill and go on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from milbench import __version__
from milbench.cli import main
from milbench.data.assemble import load_tables
from milbench.data.store import save_store
from milbench.errors import ClusterError, ConfigError, DiskError, MilbenchError, StudyError
from milbench.flags import gathered
from milbench.run_config import PipelineConfig
from milbench.tasks import EUOS25
from milbench.testing import SyntheticTables, make_tables
from runs import BEST_PARAMS, FIX, arguments, best_params, config_for, finished, same_weights, trials_of, weights

pytestmark = pytest.mark.usefixtures("logging_as_before")
PARAMS = {name: json.loads(value) for name, value in (text.split("=") for text in FIX)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> SyntheticTables:
    return make_tables(tmp_path_factory.mktemp("tables"), 60)


@dataclass
class Case:
    """A command line in the making, in a folder of its own: `flags` as given, `None` for a flag that is left out."""

    folder: Path
    flags: dict[str, str | list[str] | None]

    def table(self, flag: str, change: Callable[[pd.DataFrame], pd.DataFrame], suffix: str = ".parquet") -> None:
        """Replace a table by a changed copy of it."""
        frame = change(pd.read_parquet(str(self.flags[flag])))
        path = self.folder / f"{flag}{suffix}"
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
        self.flags[flag] = str(path)

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def args(self) -> list[str]:
        args = ["run"]
        for flag, value in self.flags.items():
            if value is not None:
                args += [f"--{flag}", *([value] if isinstance(value, str) else value)]
        return args

    @property
    def study(self) -> Path:
        return Path(str(self.flags["study_dir"]))


def search(tables: SyntheticTables, folder: Path) -> Case:
    """A search that would run."""
    flags: dict[str, str | list[str] | None] = {
        "labels": str(tables.labels),
        "feat2d_scaled": str(tables.feat2d),
        "feat3d_scaled": str(tables.feat3d),
        "study_dir": str(folder / "study"),
        "nn_accelerator": "cpu",
        "folds": "2",
        "trials": "1",
        "max_epochs": "1",
        "run_hpo": [],
        "fix": list(FIX),
    }
    return Case(folder, flags)


def _no_search(case: Case, params: str | None) -> None:
    case.flags |= {"run_hpo": None, "fix": None, "best_params_json": params}


def missing_file(case: Case) -> None:
    case.flags["labels"] = str(case.folder / "no.parquet")


def missing_column(case: Case) -> None:
    case.table("labels", lambda frame: frame.drop(columns="Fluorescence_340_450"))


def missing_id(case: Case) -> None:
    case.table("feat3d_scaled", lambda frame: frame.rename(columns={"conf_id": "conformer"}))


def text_in_csv(case: Case) -> None:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        column = frame["mol_01"].astype(str)
        column[16] = "abc"
        return frame.assign(mol_01=column)

    case.table("feat2d_scaled", spoil, ".csv")


def label_of_two(case: Case) -> None:
    case.table(
        "labels", lambda frame: frame.assign(Transmittance_340=np.where(frame.index == 4, 2, frame["Transmittance_340"]))
    )


def duplicate_id(case: Case) -> None:
    case.table("labels", lambda frame: pd.concat([frame, frame.iloc[[3]]]))


def no_shared_id(case: Case) -> None:
    case.table("feat2d_scaled", lambda frame: frame.assign(ID="X" + frame["ID"]))


def nan_feature(case: Case) -> None:
    case.table("feat3d_scaled", lambda frame: frame.assign(geom_01=frame["geom_01"].where(frame.index != 7)))


def inf_feature(case: Case) -> None:
    case.table("feat2d_scaled", lambda frame: frame.assign(mol_02=frame["mol_02"].where(frame.index != 0, np.inf)), ".csv")


def no_positives(case: Case) -> None:
    def clear(frame: pd.DataFrame) -> pd.DataFrame:
        frame["cv_fold"] = np.arange(len(frame)) % 3
        frame.loc[frame["cv_fold"] == 1, list(EUOS25.names)] = 0
        return frame

    case.table("labels", clear)


def fraction_as_fold(case: Case) -> None:
    case.table("labels", lambda frame: frame.assign(cv_fold=0.5))


def unknown_component(case: Case) -> None:
    case.flags["fix"] = ["aggregator_name=foo"]


def out_of_range(case: Case) -> None:
    case.flags["fix"] = ["lr=5"]


def unknown_parameter(case: Case) -> None:
    case.flags["fix"] = ["batchsize=64"]


def no_equals_sign(case: Case) -> None:
    case.flags["fix"] = ["lr"]


def folder_under_a_file(case: Case) -> None:
    case.flags["study_dir"] = str(Path(case.file("file", "")) / "study")


def folder_nobody_can_make(case: Case) -> None:
    case.flags["study_dir"] = "/proc/milbench/study"


def attention_under_a_file(case: Case) -> None:
    case.flags["attn_out"] = str(Path(case.file("file", "")) / "attention.csv")


def store_and_tables(case: Case) -> None:
    case.flags["store"] = str(case.folder)


def no_store(case: Case) -> None:
    case.flags |= {"labels": None, "feat2d_scaled": None, "feat3d_scaled": None, "store": str(case.folder)}


def torn_store(case: Case) -> None:
    flags = case.flags
    bags = load_tables(str(flags["labels"]), str(flags["feat2d_scaled"]), [str(flags["feat3d_scaled"])], EUOS25)
    store = save_store(case.folder / "store", bags, EUOS25, provenance={})
    (store / "xinst.npy").write_bytes((store / "xinst.npy").read_bytes()[:-1000])
    case.flags |= {"labels": None, "feat2d_scaled": None, "feat3d_scaled": None, "store": str(store)}


def no_parameters(case: Case) -> None:
    _no_search(case, None)


def no_parameter_file(case: Case) -> None:
    _no_search(case, str(case.folder / "no.json"))


def corrupt_json(case: Case) -> None:
    _no_search(case, case.file("params.json", '{"lr": 0.001,\n  "batch'))


def json_of_a_list(case: Case) -> None:
    _no_search(case, case.file("params.json", "[1, 2]"))


def json_unknown(case: Case) -> None:
    _no_search(case, case.file("params.json", '{"learning_rate": 0.001, "weight_decy": 1e-5}'))


def json_out_of_range(case: Case) -> None:
    _no_search(case, case.file("params.json", '{"lr": 5}'))


def json_with_text(case: Case) -> None:
    _no_search(case, case.file("params.json", '{"lr": "fast"}'))


def bad_storage(case: Case) -> None:
    case.flags["storage"] = "foo://bar"


def bad_split(case: Case) -> None:
    case.flags["use_splits"] = ["trian"]


def leaderboard_trained_on(case: Case) -> None:
    case.flags["use_splits"] = ["train", "leaderboard"]


def too_many_folds(case: Case) -> None:
    case.flags["folds"] = "1000"


BAD = {
    missing_file: "no.parquet: no such file",
    missing_column: "labels.parquet: column 'Fluorescence_340_450' is missing",
    missing_id: "feat3d_scaled.parquet: column 'conf_id' is missing",
    text_in_csv: "feat2d_scaled.csv, row 17, column mol_01: got 'abc', want a number",
    label_of_two: "labels.parquet, row 5, column Transmittance_340: got 2.0, want 0, 1 or empty",
    duplicate_id: "labels.parquet, row 61, column ID: ID appears twice, got 'M00003'",
    no_shared_id: "feat2d_scaled.parquet: shares no ID with",
    nan_feature: "feat3d_scaled.parquet, row 8, column geom_01: got nan, want a finite float32; mend the table, or impute",
    inf_feature: "feat2d_scaled.csv, row 1, column mol_02: got inf",
    no_positives: "fold 2: no positive of any endpoint among its 15 validation molecules; make other folds",
    fraction_as_fold: "labels.parquet, row 1, column cv_fold: got 0.5, want a whole number or empty",
    unknown_component: "'foo': is not registered, want one of gated_attention, max_pool, mean_pool, task_attention_pool",
    out_of_range: "--fix lr: lr is out of range, got 5.0, want from 1e-06 to 0.1 (searched: 8e-05 to 0.0008 (log))",
    unknown_parameter: "--fix batchsize: unknown parameter; did you mean 'batch_size'?",
    no_equals_sign: "--fix: got 'lr', want NAME=VALUE",
    folder_under_a_file: "cannot create this folder (Not a directory)",
    folder_nobody_can_make: "/proc/milbench/study: cannot create this folder",
    attention_under_a_file: "cannot create this folder (",
    store_and_tables: "--store: was given together with --labels; give a store or tables, not both",
    no_store: "is not a bag store (no manifest.json)",
    torn_store: "xinst.npy: ",
    no_parameters: f"{BEST_PARAMS}: no parameters to train with; add --run_hpo, or name a --best_params_json",
    no_parameter_file: "no.json: no parameters to train with",
    corrupt_json: "params.json, row 2: not valid JSON",
    json_of_a_list: "params.json: holds no parameters, got 'list', want a JSON object",
    json_unknown: "params.json: unknown parameter, got 'learning_rate'",
    json_out_of_range: "params.json: lr is out of range, got 5.0",
    json_with_text: "params.json: lr has the wrong type, got 'fast'",
    bad_storage: "--storage: cannot be opened",
    bad_split: "--use_splits: no molecule is in trian; the splits are leaderboard, train",
    leaderboard_trained_on: "--leaderboard_split: 'leaderboard' is trained on too",
    too_many_folds: "folds: got 1000, want 2 to 45 (the molecules there are)",
}


def test_the_case_that_the_mistakes_start_from_runs(
    tables: SyntheticTables, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    case = search(tables, tmp_path)
    assert main(case.args()) == 0
    out, err = capfd.readouterr()
    assert "Leaderboard, reported once:" in out
    assert "macro AP" in out
    assert str(case.study) in out
    assert err.splitlines()[0].startswith("data: 60 molecules")
    assert "Warning" not in err
    assert "" not in err.splitlines()


@pytest.mark.parametrize("mistake", BAD, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_one_line_and_status_2_and_leaves_nothing_half_written(
    tables: SyntheticTables, tmp_path: Path, capfd: pytest.CaptureFixture[str], mistake: Callable[[Case], None]
) -> None:
    case = search(tables, tmp_path)
    mistake(case)
    assert main(case.args()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("milbench: ")
    assert BAD[mistake] in err
    left = {path.name for path in case.study.rglob("*")} if case.study.is_dir() else set()
    assert left <= {"log.txt", "status.json"}
    if left:
        assert json.loads((case.study / "status.json").read_text())["state"] == "failed"
        assert BAD[mistake] in (case.study / "log.txt").read_text()


def test_a_study_folder_that_is_not_writable_is_refused(
    tables: SyntheticTables, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every folder is writable, so the answer of the system is made up."""
    monkeypatch.setattr("milbench.files.os.access", lambda path, mode: False)
    assert main(search(tables, tmp_path).args()) == 2
    assert "this folder is not writable; choose another or change its permissions" in capfd.readouterr().err


def test_joining_another_study_is_one_line_that_shows_the_difference(
    tables: SyntheticTables, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    case = search(tables, tmp_path)
    assert main(case.args()) == 0
    capfd.readouterr()
    case.flags |= {"max_epochs": "2", "min_w": "0.5"}
    assert main(case.args()) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert "min_w: 0.3 there, 0.5 here; max_epochs: 1 there, 2 here; use another --study_dir" in line


def test_both_spellings_of_a_flag_are_the_same(tables: SyntheticTables, tmp_path: Path) -> None:
    args = search(tables, tmp_path).args()
    hyphens = [arg.replace("_", "-") if arg.startswith("--") else arg for arg in args]
    assert args != hyphens
    assert main(args) == 0
    hyphens[hyphens.index("--study-dir") + 1] = str(tmp_path / "hyphens")
    assert main(hyphens) == 0
    assert finished(tmp_path / "hyphens") == finished(tmp_path / "study")


def test_fix_may_be_given_once_with_all_or_once_for_each() -> None:
    wanted = ["run", "--seed", "1", "--fix", "a=1", "b=2", "c=3"]
    assert gathered(["run", "--fix", "a=1", "b=2", "c=3", "--seed", "1"]) == wanted
    assert gathered(["run", "--fix", "a=1", "--fix", "b=2", "--seed", "1", "--fix=c=3"]) == wanted
    assert gathered(["run", "--seed", "1"]) == ["run", "--seed", "1"]
    both = ["run", "--fix", "a=1", "--range", "b=1:2", "--fix=c=3", "--range=d=1,2", "--seed", "1"]
    assert gathered(both) == ["run", "--seed", "1", "--fix", "a=1", "c=3", "--range", "b=1:2", "d=1,2"]


def test_a_wrong_value_given_to_any_fix_is_seen(tables: SyntheticTables, tmp_path: Path) -> None:
    args = [arg for arg in search(tables, tmp_path).args() if arg not in FIX and arg != "--fix"]
    assert main([*args, "--fix", "lr=5", "--fix", "batch_size=32"]) == 2


DEFAULTS = {
    "labels": None,
    "feat2d_scaled": None,
    "feat3d_scaled": None,
    "feat3d_qm_scaled": None,
    "id_col": "ID",
    "conf_col": "conf_id",
    "split_col": "split",
    "fold_col": "cv_fold",
    "use_splits": ("train",),
    "folds": 5,
    "max_epochs": 150,
    "patience": 20,
    "trials": 50,
    "run_hpo": False,
    "best_params_json": None,
    "seed": 0,
    "nn_accelerator": "auto",
    "nn_devices": 1,
    "precision": "32-true",
    "num_workers": 0,
    "pin_memory": False,
    "leaderboard_split": "leaderboard",
    "attn_out": None,
    "min_w": 0.3,
    "search_min_w": False,
    "fix": (),
    "monitor": "inner",
    "storage": None,
    "labels_missing": "mask",
    "impute": "none",
    "prescaled": False,
    "keep_empty_bags": False,
    "pruner_kind": "percentile",
    "pruner_percentile": 25.0,
    "pruner_startup_trials": 10,
    "pruner_warmup_steps": 8,
    "parallel_folds": "auto",
}


def test_every_flag_of_the_specification_exists_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    config = PipelineConfig(Path("study"))
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS
    with pytest.raises(SystemExit) as done:
        main(["run", "--help"])
    assert done.value.code == 0
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)  # the box wraps lines anywhere
    for name in (*DEFAULTS, "study_dir", "store", "tasks"):
        assert f"--{name.replace('_', '-')}" in text
    for default in ("(default: 150)", "(default: 20)", "(default: 50)", "(default: 0.3)", "(default: leaderboard)"):
        assert default in text


@pytest.mark.parametrize(
    "args", [[], ["run"], ["fly"], ["run", "--bogus", "1"], ["run", "--study_dir", "x", "--trials", "many"]]
)
def test_a_command_line_that_cannot_be_parsed_is_status_2(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(args)
    assert done.value.code == 2
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("kind", "status"), [(ConfigError, 2), (StudyError, 2), (DiskError, 1), (ClusterError, 1)])
def test_what_is_no_bad_input_is_one_line_too_and_status_1(
    kind: type[MilbenchError], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(tasks: str) -> list[str]:
        raise kind("somewhere", "goes wrong", do="do something")

    monkeypatch.setattr("milbench.report.parameter_lines", wrong)
    assert main(["params"]) == status
    assert capsys.readouterr().err == "milbench: somewhere: goes wrong; do something\n"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"milbench {__version__}\n"


def test_every_parameter_is_listed_with_default_and_range(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["params"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "8e-05 to 0.0008 (log)" in lines["lr"]
    assert "0.0003" in lines["lr"]
    assert "128, 256, 512" in lines["batch_size"]
    assert {"posw_clip_t3", "gamma_t0", "lam_t1", "quota_t450_per_256"} <= lines.keys()
    assert lines["posw_clip_t0"].endswith("Transmittance_340: largest positive weight of BCE")
    assert lines["quota_t450_per_256"].endswith("Transmittance_450: positives reserved per 256")
    (tmp_path / "one.json").write_text('{"name": "one", "endpoints": [{"name": "glow"}]}')
    assert main(["params", "--tasks", str(tmp_path / "one.json")]) == 0
    out = capsys.readouterr().out
    assert re.search("gamma_t0 .* glow: focal exponent", out)
    assert "gamma_t1" not in out
    assert main(["params", "--tasks", str(tmp_path / "two.json")]) == 2


def milbench(*args: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "milbench.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "code",
    [
        "import milbench",
        "import milbench.cli",
        "from milbench.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
        "from milbench.cli import main\ntry:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass",
        "from milbench.cli import main\nmain(['--version'])",
    ],
)
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    check = "import sys; heavy = {'torch', 'lightning', 'optuna', 'sklearn', 'pandas', 'rdkit'} & sys.modules.keys()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}\nsys.exit(', '.join(heavy) or None)"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m milbench.cli run --help | head -1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("usage: milbench run")
    assert done.stderr == ""


def test_a_mistake_in_a_real_process_is_one_line_and_status_2(tables: SyntheticTables, tmp_path: Path) -> None:
    case = search(tables, tmp_path)
    text_in_csv(case)
    done = milbench(*case.args())
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "row 17, column mol_01: got 'abc'" in done.stderr


@pytest.mark.slow
def test_a_run_in_a_real_process_prints_no_librarys_warning(tables: SyntheticTables, tmp_path: Path) -> None:
    done = milbench(*search(tables, tmp_path).args(), "--seed", "3", env={**os.environ, "PYTHONWARNINGS": "default"})
    assert done.returncode == 0
    ours = ("data: ", "trial ", "fold ", "applicability: ")
    assert all(line.startswith(ours) for line in done.stderr.splitlines()), done.stderr


def test_an_unforeseen_error_is_status_1_with_its_traceback_in_the_log(
    tables: SyntheticTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("milbench.pipeline.HPODataBuilder.build", broken)
    with pytest.raises(ZeroDivisionError):  # Python itself ends with status 1 then
        main(search(tables, tmp_path).args())
    log = (tmp_path / "study" / "log.txt").read_text()
    assert "Traceback" in log
    assert "nobody thought of this" in log
    assert json.loads((tmp_path / "study" / "status.json").read_text())["state"] == "failed"


def start(args: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "milbench.cli", *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_epochs(study: Path, process: "subprocess.Popen[str]", epochs: int) -> None:
    metrics, until = study / "metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if metrics.is_file() and metrics.read_text().count("\n") >= epochs:
            return
        time.sleep(0.01)
    raise AssertionError(f"only {metrics.read_text().count(chr(10)) if metrics.is_file() else 0} epochs were trained")


@pytest.fixture(scope="module")
def uninterrupted(tables: SyntheticTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert main(arguments(config_for(tables, folder, trials=3, max_epochs=6))) == 0
    return folder


def assert_same_end(study: Path, uninterrupted: Path) -> None:
    assert finished(study) == finished(uninterrupted)
    assert len(finished(study)) == 3
    assert all(trial.state != TrialState.RUNNING for trial in trials_of(study))
    here, there = best_params(study), best_params(uninterrupted)
    assert {**here, "best_trial": None} == {**there, "best_trial": None}  # its number in the study: an interrupted one counts
    assert same_weights(weights(study), weights(uninterrupted))
    assert not list(study.rglob("*.partial-*"))
    assert json.loads((study / "status.json").read_text())["state"] == "done"
    pd.testing.assert_frame_equal(
        pd.read_parquet(study / "oof.parquet").drop(columns="trial"),
        pd.read_parquet(uninterrupted / "oof.parquet").drop(columns="trial"),
    )


@pytest.mark.chaos
@pytest.mark.parametrize("epochs", [1, 15, 38], ids="killed after {} epochs".format)
def test_a_killed_run_started_again_ends_as_the_uninterrupted_one(
    tables: SyntheticTables, tmp_path: Path, uninterrupted: Path, epochs: int
) -> None:
    """36 epochs are the study, 6 more the final model."""
    args = arguments(config_for(tables, tmp_path, trials=3, max_epochs=6))
    process = start(args)
    wait_for_epochs(tmp_path, process, epochs)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = start(args)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.chaos
def test_a_run_killed_again_and_again_gets_there(tables: SyntheticTables, tmp_path: Path, uninterrupted: Path) -> None:
    args = arguments(config_for(tables, tmp_path, trials=3, max_epochs=6))
    metrics = tmp_path / "metrics.jsonl"
    for _ in range(3):
        process = start(args)
        done = metrics.read_text().count("\n") if metrics.is_file() else 0
        wait_for_epochs(tmp_path, process, done + 9)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start(args)
    _, err = last.communicate(timeout=240)
    assert last.returncode == 0, err
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.chaos
@pytest.mark.parametrize("epochs", [8, 38])
def test_ctrl_c_is_one_line_and_status_1_and_the_study_goes_on(
    tables: SyntheticTables, tmp_path: Path, uninterrupted: Path, epochs: int
) -> None:
    args = arguments(config_for(tables, tmp_path, trials=3, max_epochs=6))
    process = start(args)
    wait_for_epochs(tmp_path, process, epochs)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err.splitlines()[-1] == "milbench: stopped; run the same command again to go on"
    assert "Traceback" not in err
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "stopped"
    assert all(trial.state != TrialState.RUNNING for trial in trials_of(tmp_path))
    again = start(args)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.chaos
@pytest.mark.skipif(shutil.which("script") is None, reason="needs a pseudo-terminal")
def test_on_a_terminal_the_bar_and_the_lines_do_not_mix(tables: SyntheticTables, tmp_path: Path) -> None:
    command = " ".join([sys.executable, "-m", "milbench.cli", *search(tables, tmp_path).args()])
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
    )
    lines = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", done.stdout).replace("\r", "\n").splitlines()
    assert any(line.startswith("study trial 0 fold 1 epoch 1 ━") for line in lines)
    assert any(re.fullmatch(r"trial 0 fold 2/2: score=[^━]* s", line) for line in lines)
