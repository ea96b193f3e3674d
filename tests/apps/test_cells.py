"""Every app runs as a script, passes marimo's own check, and each of its cells runs alone."""

import builtins
import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from runpy import run_path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from marimo._ast.cell import Cell

from milbench.jobs import Job
from milbench.promote_ui import TAB
from milbench.ui import STATE_VARIABLE
from milbench.workspace import ROOT_VARIABLE
from workbench import APPS, STORE, STUDY

ALL = sorted(APPS.glob("[a-z]*.py"))
STATES = {"study_review": ("tab=Parameters", "tab=Two+trials&trials=0,1", "tab=Optuna", "tab=Notes", "tab=Final+model")}
"""Addresses of apps whose cells do not all run at first."""
CELLS = [
    (app, name)
    for app in ALL
    for name in re.findall(r"^@app\.cell\(.*\)\n(?:async )?def (\w+)\(", app.read_text(encoding="utf-8"), re.MULTILINE)
]
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


@pytest.mark.parametrize(("name", "folded"), [("some.csv", True), ("some.smi", False)])
def test_the_data_app_offers_folds_of_what_the_command_takes_alone(
    name: str, folded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some.csv").write_text("ID,smiles,Transmittance_340\na,CCO,0\nb,CCN,1\n")
    (tmp_path / "some.smi").write_text("CCO a\nCCN b\n")
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setenv(STATE_VARIABLE, f"source={name}")
    defined = run_path(str(APPS / "data_prep.py"))["app"].run()[1]
    assert ("folds_button" in defined) == folded
    assert "prepare_button" in defined


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", ""])
def test_a_final_model_never_leaves_the_workspace(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "runs"))
    cell, value = run_path(str(APPS / "study_review.py"))["promoted"], SimpleNamespace
    given = {"final": value(value=name), "promote": value(value=True), "tab": value(value=TAB)}
    said, _ = cell.run(beat=lambda: None, found=None, trials=[1], **given)
    assert f"Folder: got {name!r}, want letters" in html.unescape(html.unescape(said.text))
    assert not list(tmp_path.iterdir())


@pytest.mark.app
@by_name
def test_an_app_runs_as_a_script_and_prints_its_numbers(app: Path, demo_workspace: Path) -> None:
    assert run_as_script(app, demo_workspace).strip()


@dataclass(frozen=True)
class World:
    """A workspace and an address in which an app ran, and what all its cells defined there."""

    root: Path
    state: str
    defined: Mapping[str, Any]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The environment of that run."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ROOT_VARIABLE, str(self.root))
            patch.setenv(STATE_VARIABLE, self.state)
            yield


@pytest.fixture(scope="module")
def runs(demo_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], tuple[ModuleType, list[World]]]:
    """An app's module, and the worlds in which, together, all its cells have something to show; each app runs there once."""
    workspace = Path(shutil.copytree(demo_workspace, tmp_path_factory.mktemp("cells") / "runs"))
    alone = workspace.parent / "a_file_alone"  # what a workspace with a store does not show
    alone.mkdir()
    shutil.copy(workspace / "demo/tables/labels.parquet", alone)
    Job(workspace / STUDY, ("run", "--store", str(workspace / STORE), "--study_dir", str(workspace / STUDY))).save()

    @cache
    def of(app: Path) -> tuple[ModuleType, list[World]]:
        spec = importlib.util.spec_from_file_location(app.stem, app)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        worlds = []
        for root, state in [(alone, ""), *((workspace, state) for state in ("", *STATES.get(app.stem, ())))]:
            world = World(root, state, {})
            with world.entered():
                worlds.append(replace(world, defined=module.app.run()[1]))
        return module, worlds

    return of


@pytest.mark.app
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("app", "name"), CELLS, ids=[f"{app.stem}.{name}" for app, name in CELLS])
def test_a_cell_runs_alone_on_what_it_names(
    app: Path, name: str, runs: Callable[[Path], tuple[ModuleType, list[World]]]
) -> None:
    module, worlds = runs(app)
    free = {known for known, value in vars(module).items() if not isinstance(value, Cell)} | vars(builtins).keys()
    found = vars(module)[name]
    needed, times = found.refs - free, 0
    for world in worlds:
        if needed <= set(world.defined):
            with world.entered():
                found.run(**{ref: world.defined[ref] for ref in needed})
            times += 1
    assert times, f"{name} never has {needed - set().union(*(world.defined for world in worlds))}"


def run_as_script(app: Path, root: Path) -> str:
    """What `python apps/<name>.py` prints; a traceback fails the test."""
    environment = {**os.environ, ROOT_VARIABLE: str(root), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, app], capture_output=True, text=True, check=False, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout
