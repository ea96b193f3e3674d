"""Recipes: plain commands in order, each left when it is done, going on where one failed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import TINY
from milbench.cli import main
from milbench.data.euos25_files import FILES, T340
from milbench.errors import ConfigError, DataError
from milbench.files import read_json
from milbench.steps import RecipeConfig, read_recipe, run_recipe
from predicting import nci_smiles

EUOS25 = Path(__file__).parent.parent / "recipes" / "euos25" / "recipe.toml"
SMALL = """
name = "small"
[settings]
out = "{out}"
names = ["a b", "c"]
[[step]]
name = "parameters"
about = "lists them"
run = "params"
[[step]]
name = "scores"
about = "needs a file"
run = "score {{out}}/p.csv --also {{names}}"
hours = "seconds"
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A recipe of two steps, the second of which lacks its files."""
    (tmp_path / "small.toml").write_text(SMALL.format(out=tmp_path / "my out"))
    return tmp_path / "small.toml"


def test_settings_fill_the_commands_and_lists_become_words(small: Path) -> None:
    recipe = read_recipe(small)
    assert recipe.steps[1].arguments == ("score", f"{small.parent / 'my out'}/p.csv", "--also", "a b", "c")
    changed = read_recipe(small, ("names=x 'y z'", "out=elsewhere"))
    assert changed.steps[1].arguments == ("score", "elsewhere/p.csv", "--also", "x", "y z")
    lines, status = run_recipe(RecipeConfig(small, list=True))
    assert status == 0
    assert "# scores: needs a file (seconds)" in lines
    assert not (small.parent / "my out").exists()


def test_a_step_that_fails_stops_the_recipe_and_what_is_done_is_left(small: Path) -> None:
    lines, status = run_recipe(RecipeConfig(small))
    assert status == 2
    assert "scores ended with status 2" in lines[0]
    done = small.parent / "my out" / "steps" / "parameters.json"
    before = done.stat().st_mtime_ns
    assert run_recipe(RecipeConfig(small))[1] == 2
    assert done.stat().st_mtime_ns == before
    assert not (done.parent / "scores.json").exists()


def test_what_is_no_recipe_is_one_line(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no step"):
        run_recipe(RecipeConfig(small, ("paramters",)))
    with pytest.raises(ConfigError, match="did you mean 'names'"):
        read_recipe(small, ("name=x",))
    for text, words in {
        "[settings]\nout = 'x'": "is not a recipe",
        "[settings]\nout = 3": "setting out",
        "[settings]\nout = 'x'\n[[step]]\nname = 'a'": "no about",
        "[settings]\nout = 'x'\n[[step]]\nname = 'a'\nabout = ''\nrun = '{b}'": "no setting 'b'",
        "[": "cannot be read",
    }.items():
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(DataError, match=words):
            read_recipe(tmp_path / "bad.toml")


def stand_in(folder: Path, n: int = 72) -> Path:
    """Files in the challenge's form, of n real molecules on nine plates with made-up labels, and six test molecules."""
    folder.mkdir()
    rng, ids, smiles = np.random.default_rng(0), 1 + 44 * np.arange(n), nci_smiles(n + 6)
    for name, file in FILES.items():
        word = "Transmittance" if "ransmittance" in name else "Fluorescence"
        head = ("N", "SMILES", "Transmittance (qualitative)") if name == T340 else ("ID", "SMILES", word)
        labels = (rng.random(n) < 0.4).astype(int)
        pd.DataFrame(dict(zip(head, (ids, smiles[:n], labels), strict=True))).to_csv(folder / file, index=False)
    test = pd.DataFrame({"ID": 2 + 44 * np.arange(6), "SMILES": smiles[n:]})
    test.to_csv(folder / "euos25_challenge_test.csv", index=False)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a dozen processes that each load torch
def test_the_euos25_recipe_goes_from_the_challenges_files_to_a_submission(tmp_path: Path) -> None:
    files, out = stand_in(tmp_path / "files of mine"), tmp_path / "out"
    fix = " ".join(f"{name}={value}" for name, value in TINY.items())
    settings = {
        **{"files": files, "out": out, "sets_2d": "maccs torsion:64", "features2d": "maccs", "sets_3d": "usr"},
        **{"conformers": 2, "shifted": "0 1", "trials": 1, "max_epochs": 1, "fix": fix, "accelerator": "cpu"},
        **{"features3d": "usr", "scaling": "standard", "clip": 0},
    }
    changes = [f"{name}={value}" for name, value in settings.items()]
    assert main(["recipe", str(EUOS25), "--set", *changes]) == 0
    submission = pd.read_csv(out / "submission.csv")
    assert len(submission) == 6
    assert np.isfinite(submission).all(axis=None)
    scores = read_json(out / "scores.json")
    assert scores["without"]["tasks"]["Transmittance_340"]["n"] == 72 - 16
    assert {row["endpoint"] for row in scores["against"]} >= {"macro mean", "Transmittance_450"}
    marks = sorted(path.stem for path in (out / "steps").iterdir())
    assert marks == sorted(step.name for step in read_recipe(EUOS25).steps)
