"""The scoreboard: its cells alone, and its main path in a browser."""

import shutil
from pathlib import Path
from typing import Any

import marimo as mo
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from apps import scoreboard
from milbench.data.curves import best_threshold, confusion
from milbench.data.results import OUT_OF_FOLD, read_result, result_files
from milbench.data.scoreboard import behind, board
from results import make_result
from workbench import STUDY, Complaints, Workbench, cell, open_app


def test_every_cell_that_shows_numbers_runs_alone(tmp_path: Path) -> None:
    a, b = make_result(), make_result(1, run="b")
    found, scores = behind(a), board([a, b], tmp_path)
    shown, _ = scoreboard.at_a_glance.run(scores=scores)
    assert f"{scores['ap'][0]:.3f} [" in shown.text
    _, names = scoreboard.chosen.run(part=mo.ui.dropdown(["gone"], value="gone"), read={OUT_OF_FOLD: a})
    assert names["result"] is a and names["found"].cuts.keys() == {"one", "two"}
    endpoint, threshold = mo.ui.dropdown(["one", "two"], value="one"), mo.ui.slider(0, 1, 0.1, value=0.4)
    _, names = scoreboard.thresholds.run(endpoint=endpoint, found=found, result=a, threshold=threshold, best="")
    assert names["cells"] == confusion(a.y[:, 0], a.p[:, 0], 0.4)


@pytest.mark.app
def test_scores_thresholds_and_the_report_of_a_run(
    shared_workbench: Workbench, page: Any, complaints: Complaints, tmp_path: Path
) -> None:
    open_app(page, shared_workbench, "scoreboard", run=STUDY)
    result = read_result(result_files(shared_workbench.root / STUDY)[OUT_OF_FOLD], STUDY, OUT_OF_FOLD)
    expect(cell(page, "at_a_glance")).to_contain_text(f"{(result.y[:, 0] == 1).sum()}")
    page.get_by_label("Molecules").select_option("leaderboard")
    expect(cell(page, "curves")).to_contain_text(f"{STUDY}, leaderboard")
    page.get_by_label("Molecules").select_option(OUT_OF_FOLD)
    expect(cell(page, "curves")).to_contain_text(f"{STUDY}, {OUT_OF_FOLD}")
    expect(cell(page, "thresholds")).to_contain_text(
        f"of {int(np.nansum(result.y[:, 0]))} positives"
    )  # the new molecules' choices
    page.get_by_label("Endpoint").select_option(result.names[1])
    best = best_threshold(behind(result).cuts[result.names[1]])
    expect(cell(page, "thresholds")).to_contain_text(f"The largest F1 is at {best:.3f}")
    slider = cell(page, "thresholds").get_by_role("slider")
    slider.focus()
    slider.press("Home")
    positives = int(np.nansum(result.y[:, 1]))
    expect(cell(page, "thresholds")).to_contain_text(f"of {positives} positives: 100.0%")
    page.wait_for_function(f"location.search.includes('threshold=0') && location.search.includes('{result.names[1]}')")
    page.reload()
    expect(cell(page, "thresholds")).to_contain_text(f"of {positives} positives: 100.0%")
    page.set_viewport_size({"width": 1270, "height": 800})
    clips = page.locator(".js-plotly-plot [clip-path]").evaluate_all("them => them.map(one => one.getAttribute('clip-path'))")
    assert clips and not [clip for clip in clips if "/apps/" in clip]  # an address that has changed since clips nothing
    plot = cell(page, "curves").locator(".js-plotly-plot").first
    plot.hover()
    with page.expect_download() as downloading:
        plot.locator(".modebar-btn[data-title^=Download]").click()
    assert downloading.value.suggested_filename == "milbench-precision-recall-demo-study-out-of-fold.png"
    downloading.value.save_as(tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 2.5 * plot.bounding_box()["width"]
    with page.expect_download() as downloading:
        page.get_by_text("Report as one HTML file").click()
    downloading.value.save_as(tmp_path / "scores.html")
    complaints.expected.append("foreign: file://")
    page.goto(f"file://{tmp_path}/scores.html")
    assert page.locator(".js-plotly-plot").count() == 8
    page.locator(".js-plotly-plot .plot-container").last.wait_for()


@pytest.mark.app
def test_a_run_is_not_distinguishable_from_its_copy(workbench: Workbench, page: Any) -> None:
    shutil.copytree(workbench.root / STUDY, workbench.root / "again")
    open_app(page, workbench, "scoreboard", run=STUDY)
    page.get_by_label("Compare with").select_option(f"again, {OUT_OF_FOLD}")
    expect(cell(page, "comparison")).to_contain_text("+0.000 [+0.000, +0.000], not distinguishable")
    expect(cell(page, "comparison")).to_contain_text("about one looks distinguishable by chance")


@pytest.mark.app
def test_a_table_that_was_torn_is_one_line_and_not_a_blank_page(workbench: Workbench, page: Any) -> None:
    (workbench.root / STUDY / "oof.parquet").write_bytes(b"torn")
    open_app(page, workbench, "scoreboard", run=STUDY)
    expect(cell(page, "results")).to_contain_text("cannot be read as parquet")
