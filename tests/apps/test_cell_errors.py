"""What a cell raises is in the log of `milbench serve`, where someone who reports it finds it, and no secret with it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from milbench.cell_errors import TRACEBACK, tracebacks
from workbench import APPS, TOAST, Complaints, start_workbench, wait_for

BROKEN = """\
import marimo

app = marimo.App()

with app.setup(hide_code=True):
    import gc
    from milbench import ui
    from milbench.guard import Guard


@app.cell(hide_code=True)
def header():
    ui.header("home")
    return


@app.cell(hide_code=True)
def fails():
    token = next(kept for kept in gc.get_objects() if isinstance(kept, Guard)).token
    raise RuntimeError(f"<b> & {token} postgresql://me:secret@localhost/x")
    return
"""


@pytest.mark.app
def test_what_a_cell_raises_is_in_the_servers_log_without_token_and_passwords(
    page: Any, complaints: Complaints, tmp_path: Path
) -> None:
    complaints.expected += ["Traceback", TOAST]
    apps = tmp_path / "apps"
    apps.mkdir()
    shutil.copy(APPS / "home.py", apps)
    (apps / "broken.py").write_text(BROKEN)
    workbench = start_workbench(tmp_path / "runs", tmp_path / "log.txt", apps=apps)
    try:
        page.goto(workbench.url)
        page.goto(workbench.address("broken"))
        expect(page.locator("#App")).to_contain_text("RuntimeError")
        wait_for(lambda: "RuntimeError:" in workbench.log.read_text(), 30)
    finally:
        page.close()
        workbench.stop()
    said = workbench.log.read_text()
    assert "/apps/broken/ws: a cell raised\nTraceback (most recent call last):\n" in said
    line = next(k for k, text in enumerate(BROKEN.splitlines(), 1) if "raise" in text)
    assert f'File "{apps / "broken.py"}", line {line}, in <module>\n    raise RuntimeError(f"<b> & {{token}}' in said
    assert "RuntimeError: <b> & *** postgresql://me:***@localhost/x\n" in said
    assert workbench.token not in said


def test_other_messages_to_a_page_are_no_tracebacks() -> None:
    output = {"channel": "stdout", "mimetype": "text/plain", "data": f"{TRACEBACK} Traceback"}
    raised = {"channel": "stderr", "mimetype": TRACEBACK, "data": "<pre>A: <span class='x'>1 &lt; 2</span></pre>\n"}
    assert tracebacks("") == tracebacks("no JSON") == tracebacks(json.dumps({"data": {"console": output}})) == []
    assert tracebacks(json.dumps({"data": {"console": [output, raised]}})) == ["A: 1 < 2"]
