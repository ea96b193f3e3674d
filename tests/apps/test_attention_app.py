"""The attention app: its cells alone, and its main path in a browser."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from rdkit import Chem

from apps import attention as app
from milbench.data.attention import Attention, Looked, attention_files, hits_of, read_attention
from milbench.data.store_view import StoreView
from milbench.files import read_json, write_json
from milbench.jobs import stop
from milbench.run_config import FINAL_FOLDER, REPORT_FILE
from workbench import STORE, STUDY, Workbench, cell, click_until, loaded, open_app


@pytest.mark.app
def test_the_cells_that_show_a_molecule_run_alone(demo_workspace: Path) -> None:
    attention, view = opened(demo_workspace)
    look, row = first(attention, view)
    t = 0
    _, names = app.attention_of_molecule.run(attention=attention, look=look, row=row)
    _, chosen = app.conformer.run(attention=attention, heat=names["heat"], look=look, t=t)
    assert (chosen["seen"], chosen["chosen"]) == (t, int(look.attention[:, t].argmax()))
    shown, _ = app.in_space.run(attention=attention, look=look, **chosen)
    assert f"{look.attention[:, t].max():.1%} of the attention of {attention.names[t]}" in shown.text
    _, found = app.hits.run(attention=attention, view=view)
    assert found["rates"]["positives"].sum() == len(hits_of(attention, view))


def opened(root: Path) -> tuple[Attention, StoreView]:
    """The attention over the leaderboard, and the store."""
    return read_attention(attention_files(root / STUDY)["leaderboard"]), StoreView.open(root / STORE)


def table(attention: Attention, view: StoreView) -> Any:
    """Its molecules, for the first endpoint."""
    return app.looks.molecule_table(attention, view, attention.names[0], 0.5)


def first(attention: Attention, view: StoreView) -> tuple[Looked, Any]:
    """Its first molecule."""
    row = table(attention, view).iloc[0]
    return app.looks.look_at(attention, view, row["ID"]), row


@pytest.mark.app
def test_a_molecule_is_found_seen_filtered_and_taken_along(shared_workbench: Workbench, page: Any, tmp_path: Path) -> None:
    attention, view = opened(shared_workbench.root)
    open_app(page, shared_workbench, "attention", run=STUDY)
    expect(cell(page, "choose_molecule")).to_contain_text(f"of {len(attention.ids)} molecules")
    cell(page, "in_space").locator("canvas").first.wait_for()
    page.get_by_label("Label").select_option("positive")
    positives = int((view.molecules.set_index("ID")[attention.names[0]][attention.ids] == 1).sum())
    expect(cell(page, "choose_molecule")).to_contain_text(f"{positives} of {len(attention.ids)} molecules")
    page.wait_for_function("location.search.includes('label=positive')")
    molecule = re.search(r"molecule=([^&]+)", page.url)
    assert molecule is not None
    expect(cell(page, "attention_of_molecule")).to_contain_text(molecule[1])
    page.reload()
    expect(cell(page, "attention_of_molecule")).to_contain_text(molecule[1])
    with page.expect_download() as downloading:
        page.get_by_text("Conformers with attention (SDF)").click()
    downloading.value.save_as(tmp_path / "found.sdf")
    _, weight = attention.of(molecule[1])
    records = list(Chem.SDMolSupplier(str(tmp_path / "found.sdf")))
    written = [float(record.GetProp(f"attn_{attention.names[0]}")) for record in records]
    np.testing.assert_allclose(written, weight[:, 0], atol=1e-6)


@pytest.mark.app
def test_conformers_are_taken_away_on_request(shared_workbench: Workbench, page: Any) -> None:
    open_app(page, shared_workbench, "attention", run=STUDY)
    page.get_by_role("button", name="Take conformers away").click()
    expect(cell(page, "deletion")).to_contain_text("most attended first", timeout=120_000)


@pytest.mark.app
def test_a_click_in_the_attention_map_selects_the_conformer(shared_workbench: Workbench, page: Any) -> None:
    attention, view = opened(shared_workbench.root)
    look, _ = first(attention, view)
    open_app(page, shared_workbench, "attention", run=STUDY, molecule=look.id)
    least = int(look.attention[:, 0].argmin())
    expect(cell(page, "in_space")).to_contain_text(f"Conformer #{look.conf_ids[int(look.attention[:, 0].argmax())]},")
    plot = cell(page, "attention_of_molecule").locator(".nsewdrag")
    for t, name in [(0, attention.names[0]), (len(attention.names) - 1, attention.names[-1])]:
        area = plot.bounding_box()
        at = {"x": area["width"] * (least + 0.5) / len(look.conf_ids), "y": area["height"] * (t + 0.75) / len(attention.names)}
        said = f"Conformer #{look.conf_ids[least]}, {look.attention[least, t]:.1%} of the attention of {name}"
        click_until(plot, at, cell(page, "in_space"), said)


@pytest.mark.app
def test_a_model_without_a_leaderboard_gets_its_attention_over_all_molecules_by_a_job(workbench: Workbench, page: Any) -> None:
    final = workbench.root / STUDY / FINAL_FOLDER
    (final / "leaderboard_attn.parquet").unlink()
    write_json(final / REPORT_FILE, {**read_json(final / REPORT_FILE), "attention": None})
    open_app(page, workbench, "attention", run=STUDY)
    expect(cell(page, "read")).to_contain_text(f"No attention of {STUDY} yet")
    page.get_by_role("button", name="Attention over all molecules").click()
    try:
        expect(cell(page, "all_molecules")).to_contain_text("It is there", timeout=180_000)
    finally:
        stop(workbench.root / "jobs" / "attention-demo-study")
    page.get_by_role("link", name="look at it").click()
    expect(cell(page, "choose_molecule")).to_contain_text("of 60 molecules")


@pytest.mark.app
def test_the_navigation_takes_the_chosen_run_along_to_its_scores_and_back(workbench: Workbench, page: Any) -> None:
    shutil.copytree(workbench.root / STUDY, workbench.root / "again")
    open_app(page, workbench, "attention", run=STUDY)
    page.get_by_label("Run", exact=True).select_option("again")
    page.wait_for_function("location.search.includes('run=again')")
    for title in ("Scores", "Attention"):
        page.get_by_role("navigation", name="Apps").get_by_role("link", name=title, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        expect(page.get_by_label("Run", exact=True)).to_have_value("again")
        assert "nav=" not in page.url
        loaded(page)


@pytest.mark.app
def test_a_molecule_that_is_not_here_is_said_and_no_other_is_shown_for_it(shared_workbench: Workbench, page: Any) -> None:
    open_app(page, shared_workbench, "attention", run=STUDY, molecule="ghost")
    expect(cell(page, "choose_molecule")).to_contain_text("ghost is not here")
    expect(cell(page, "molecule")).to_contain_text("Choose a molecule above.")
    assert "molecule=ghost" in page.url
