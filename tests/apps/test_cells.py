"""Every app runs as a script, passes marimo's own check, and each of its cells runs alone."""

import builtins
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from marimo._ast.cell import Cell

from milbench.jobs import Job
from milbench.ui import STATE_VARIABLE
from milbench.workspace import ROOT_VARIABLE
from workbench import APPS, STORE, STUDY

ALL = sorted(APPS.glob("[a-z]*.py"))
STATES = {"study_review": ("tab=Parameters", "tab=Two+trials&trials=0,1", "tab=Optuna", "tab=Notes", "tab=Final+model")}
"""Addresses of apps whose cells do not all run at first."""
HEAVY = {"torch", "lightning", "rdkit", "sklearn", "scipy", "sqlalchemy", "optuna_dashboard"}
by_name = pytest.mark.parametrize("app", ALL, ids=[path.stem for path in ALL])


@by_name
def test_marimo_finds_nothing_to_say_about_an_app(app: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", app], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@by_name
def test_an_app_is_short_and_its_cells_have_names(app: Path) -> None:
    lines = app.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 250
    assert "def _(" not in app.read_text(encoding="utf-8")
    assert sum(line.startswith("@app.cell") for line in lines) == lines.count("@app.cell(hide_code=True)")


@by_name
def test_nothing_heavy_is_imported_before_the_first_cell_shows(app: Path) -> None:
    code = "import sys; from runpy import run_path; cells = run_path(sys.argv[1]); cells['header'].run(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, app], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()


@by_name
def test_an_app_of_an_empty_workspace_runs_as_a_script(app: Path, tmp_path: Path) -> None:
    run_as_script(app, tmp_path / "nothing")


@pytest.mark.app
@by_name
def test_an_app_runs_as_a_script_and_prints_its_numbers(app: Path, demo_workspace: Path) -> None:
    assert run_as_script(app, demo_workspace).strip()


@pytest.mark.app
@pytest.mark.filterwarnings("ignore")
@by_name
def test_each_cell_runs_alone_on_what_it_names(app: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = workspace.parent / "a_file_alone"  # what a workspace with a store does not show
    alone.mkdir()
    shutil.copy(workspace / "demo/tables/labels.parquet", alone)
    Job(workspace / STUDY, ("run", "--store", str(workspace / STORE), "--study_dir", str(workspace / STUDY))).save()
    spec = importlib.util.spec_from_file_location(app.stem, app)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cells = {name: found for name, found in vars(module).items() if isinstance(found, Cell)}
    free = {name for name, value in vars(module).items() if not isinstance(value, Cell)} | vars(builtins).keys()
    ran = set()
    for root, state in [(alone, ""), *((workspace, state) for state in ("", *STATES.get(app.stem, ())))]:
        monkeypatch.setenv(ROOT_VARIABLE, str(root))
        monkeypatch.setenv(STATE_VARIABLE, state)
        _, defined = module.app.run()
        for name, found in cells.items():
            given = {ref: defined[ref] for ref in found.refs - free if ref in defined}
            if given.keys() == found.refs - free:
                found.run(**given)
                ran.add(name)
    assert ran == cells.keys()


def run_as_script(app: Path, root: Path) -> str:
    """What `python apps/<name>.py` prints; a traceback fails the test."""
    environment = {**os.environ, ROOT_VARIABLE: str(root), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, app], capture_output=True, text=True, check=False, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout
