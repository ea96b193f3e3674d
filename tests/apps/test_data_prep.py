"""The data app in a browser: look, examine, fold, prepare, stop, resume."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import expect

from milbench.jobs import state_of
from milbench.workspace import scan
from published import published_files
from workbench import STORE, Workbench, cell, loaded, open_app, quiet, wait_for

pytestmark = pytest.mark.app


def test_a_store_is_shown_with_its_labels_patterns_bags_and_drawn_molecules(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "data_prep", source=STORE)
    expect(cell(page, "overview")).to_contain_text("60 molecules")
    expect(cell(page, "overview")).to_contain_text("11.67%")
    expect(cell(page, "patterns").locator(".js-plotly-plot")).to_have_count(2)
    cell(page, "molecules").get_by_text("60 molecules, drawn").click()
    expect(cell(page, "molecules").locator("table svg[width='200px']").first).to_be_visible()
    expect(cell(page, "next_step").get_by_role("link", name="launch a study")).to_have_attribute(
        "href", "/apps/hpo_launch/?store=demo%2Fstore"
    )


def test_a_file_is_examined_folded_prepared_stopped_and_resumed(page: Any, workbench: Workbench, workspace: Path) -> None:
    labels = pd.read_parquet(workspace / "demo" / "tables" / "labels.parquet")
    labels.to_csv(workspace / "mine.csv", index=False)
    open_app(page, workbench, "data_prep", source="mine.csv", folds=2)
    expect(cell(page, "overview")).to_contain_text("60 molecules")
    page.get_by_role("button", name="Examine").click()
    expect(cell(page, "doctor")).to_contain_text("What it means, what to do", timeout=120_000)
    page.get_by_role("button", name="Make folds").click()
    expect(cell(page, "folds")).to_contain_text("largest group", timeout=120_000)

    page.get_by_role("button", name="Prepare").click()
    job = workspace / "mine" / "prepare"
    expect(cell(page, "prepare")).to_contain_text("running")
    page.get_by_role("button", name="Stop").click()
    expect(cell(page, "prepare")).to_contain_text("stopped", timeout=60_000)
    page.reload()
    loaded(page)
    assert "source=mine.csv" in page.url
    expect(cell(page, "prepare")).to_contain_text("stopped")
    page.get_by_role("button", name="Resume").click()
    wait_for(lambda: state_of(job).state == "done", 280)
    expect(cell(page, "next_step")).to_contain_text("launch a study")
    made = next(store for store in scan(workspace).stores if store.name == "mine/store")
    assert made.molecules == 60
    assert set(pd.read_parquet(made.folder / "molecules.parquet")["cv_fold"]) == {-1, 0, 1}


def test_own_endpoints_are_asked_for_declared_and_then_used(page: Any, workbench: Workbench, workspace: Path) -> None:
    rows = [f"m{i},{'C' * (i + 1)}O,{i % 2}" for i in range(12)]
    (workspace / "mine.csv").write_text("\n".join(["ID,smiles,fluorescent", *rows]))
    open_app(page, workbench, "data_prep", source="report.pdf")
    expect(page.locator("#App")).to_contain_text("report.pdf")
    path = page.get_by_label("or a path")
    path.fill("mine.csv")
    path.press("Enter")
    expect(cell(page, "own_endpoints")).to_contain_text("Columns that look like endpoints: fluorescent. Use them?")
    expect(page.get_by_role("button", name="Examine")).to_have_count(0)
    expect(page.get_by_role("button", name="Prepare")).to_have_count(0)
    page.get_by_role("button", name="Use them").click()
    expect(cell(page, "overview")).to_contain_text("50.00%")
    expect(page.get_by_label("Name of the new data set")).to_have_value("mine")
    expect(page.get_by_label("Endpoints")).to_have_value(re.compile(r"mine\.toml$"))
    quiet(page)
    page.get_by_role("button", name="Make folds").click()
    expect(cell(page, "folds")).to_contain_text("largest group", timeout=40_000)
    expect(cell(page, "folds")).to_contain_text("sampled: molecules")


def test_a_name_that_is_none_can_be_mended_where_it_was_typed(page: Any, workbench: Workbench, workspace: Path) -> None:
    rows = [f"m{i},{'C' * (i + 1)}O,{i % 2}" for i in range(12)]
    (workspace / "ours.csv").write_text("\n".join(["ID,smiles,Transmittance_340", *rows]))
    open_app(page, workbench, "data_prep", source="ours.csv")
    box = page.get_by_label("Name of the new data set")
    for text, wrong in (("mine/v2", True), ("second", False)):
        box.fill(text)
        box.press("Enter")
        expect(page.get_by_text("name: got 'mine/v2', want letters")).to_have_count(int(wrong))
        expect(box).to_have_value(text)
        expect(page.get_by_role("button", name="Prepare")).to_have_count(int(not wrong))
    open_app(page, workbench, "data_prep", source="ours.csv", tasks="Quench")
    expect(page.get_by_text("Endpoints: got 'Quench'")).to_be_visible()


def test_a_table_without_labels_says_what_it_lacks_and_offers_nothing_to_do_with_it(
    page: Any, workbench: Workbench, workspace: Path
) -> None:
    rows = [f"m{i},{'C' * (i + 1)}O,{i}" for i in range(12)]
    (workspace / "bare.csv").write_text("\n".join(["ID,smiles,carbons", *rows]))
    open_app(page, workbench, "data_prep", source="bare.csv")
    expect(cell(page, "own_endpoints")).to_contain_text("is a column of this file, and no other column looks like one")
    expect(cell(page, "overview")).to_contain_text("12 molecules")
    quiet(page)
    for name in ("Use them", "Examine", "Make folds", "Prepare", "Stop", "Resume"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_the_euos25_files_as_published_are_imported_and_looked_at(page: Any, workbench: Workbench, workspace: Path) -> None:
    (workspace / "euos25").mkdir()
    published_files(workspace / "euos25")
    open_app(page, workbench, "data_prep", source="euos25")
    page.get_by_role("button", name="Import these files").click()
    cell(page, "euos25").get_by_role("link", name="Look at the imported table").click(timeout=120_000)
    expect(cell(page, "overview")).to_contain_text("8 molecules (6 train, 2 test)")
    assert state_of(workspace / "euos25" / "import").state == "done"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing.csv", "nothing.csv is not here"),
        ("wrong.csv", "row 2, column Transmittance_340: got 7.0, want 0, 1 or empty"),
        ("no_id.csv", "column 'ID' is missing"),
        ("demo", "the EUOS25 files as published"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_never_a_blank_page(
    page: Any, shared_workbench: Workbench, tmp_path: Path, source: str, said: str
) -> None:
    (tmp_path / "wrong.csv").write_text("ID,smiles,Transmittance_340\na,CC,0\nb,CCC,7\n")
    (tmp_path / "no_id.csv").write_text("name,smiles\na,CC\n")
    given = source if source == "demo" else tmp_path / source
    open_app(page, shared_workbench, "data_prep", source=given)
    expect(page.locator("#App")).to_contain_text(said)
    if source == "demo":
        page.get_by_role("button", name="Import these files").click()
        expect(cell(page, "euos25")).to_contain_text("training labels are missing", timeout=60_000)
