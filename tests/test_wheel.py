"""milbench that was installed without a clone: the apps and the notebooks are in the wheel."""

import http.client
import shutil
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from milbench.errors import ConfigError
from milbench.serve import LabConfig, run_lab, shipped
from workbench import start_workbench

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "milbench", "apps", "notebooks")


@pytest.mark.slow
def test_an_installed_milbench_serves_its_apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = unpacked_wheel(tmp_path)
    assert names_in(installed / "milbench" / "_apps") == names_in(ROOT / "apps")
    assert names_in(installed / "milbench" / "_notebooks") == names_in(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)  # a process sees what lies where it is started before what is installed
    monkeypatch.setenv("PYTHONPATH", str(installed))
    workbench = start_workbench(tmp_path / "runs", tmp_path / "log.txt")
    for path in names_in(ROOT / "apps"):
        with closing(http.client.HTTPConnection(workbench.origin.removeprefix("http://"), timeout=60)) as connection:
            connection.request("GET", f"/apps/{Path(path).stem}/", headers={"Cookie": f"{workbench.cookie}={workbench.token}"})
            assert connection.getresponse().status == 200
    workbench.stop()


def unpacked_wheel(folder: Path) -> Path:
    """A folder with what the wheel holds, and nothing of the clone. Nothing is downloaded."""
    clone = folder / "clone"
    clone.mkdir()
    for name in NEEDED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, clone / name)
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, clone]
    done = subprocess.run([sys.executable, "-m", "pip", *build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def names_in(folder: Path) -> list[str]:
    """Its files."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_the_notebooks_are_copied_to_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("os.execv", lambda program, command: started.append(command))
    monkeypatch.chdir(tmp_path)
    run_lab(LabConfig())
    assert names_in(tmp_path / "notebooks") == names_in(shipped("notebooks")) != []
    (tmp_path / "notebooks" / "00_quickstart.ipynb").write_text("mine")
    run_lab(LabConfig())
    assert (tmp_path / "notebooks" / "00_quickstart.ipynb").read_text() == "mine"
    assert [command[3] for command in started] == ["notebooks", "notebooks"]
    with pytest.raises(ConfigError, match="no such folder"):
        run_lab(LabConfig(Path("elsewhere")))
