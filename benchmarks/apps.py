"""How long a page takes until it shows something, and until all of it is there: every app, warm, in a real browser.

    .venv/bin/python benchmarks/apps.py [--workspace runs] [--molecules 70000] [--write]

`--workspace` holds a demo. A second workspace gets a synthetic bag store of `--molecules`, without a study. Each app is opened
once to warm the server and the browser's cache, then `--times` times; medians.
"""

import argparse
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from milbench.data.store import store_from_tables  # noqa: E402
from milbench.testing import make_tables  # noqa: E402
from milbench.ui import APPS  # noqa: E402
from milbench.workspace import scan  # noqa: E402
from workbench import Workbench, chromium, log_in, open_app, quiet, start_workbench  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results.md"


def main() -> None:
    """Measure, print, and with --write put the table into results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=ROOT / "runs")
    parser.add_argument("--molecules", type=int, default=70_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        large = Path(scratch) / "runs"
        make_large(large, given.molecules)
        rows = {
            name: measured(root, Path(scratch), given.times) for name, root in (("demo", given.workspace), ("large", large))
        }
    lines = report(rows, given.molecules)
    sys.stdout.write("\n".join(lines) + "\n")
    if given.write:
        write(lines)


def make_large(root: Path, molecules: int) -> None:
    """A store of so many synthetic molecules with 1 to 6 conformers."""
    tables = make_tables(root / "tables", n_molecules=molecules)
    store_from_tables(root / "large" / "store", tables.labels, tables.feat2d, [tables.feat3d, tables.feat3d_qm])
    shutil.rmtree(root / "tables")


def measured(root: Path, scratch: Path, times: int) -> dict[str, tuple[float, float]]:
    """Seconds of each app until its first cell shows and until nothing changes any more."""
    found = scan(root)
    state: dict[str, Any] = {"source": found.stores[0].name, "store": found.stores[0].name}
    if found.finals:
        state |= {"study": found.studies[0].name, "run": found.finals[0].name}
    workbench = start_workbench(root, scratch / "log.txt")
    with chromium(scratch / f"profile {root.parent.name}") as browser:
        page = browser.new_page()
        log_in(page, workbench)
        out = {app.name: one_app(page, workbench, app.name, state, times) for app in APPS}
    workbench.stop()
    return out


def one_app(page: Any, workbench: Workbench, name: str, state: dict[str, Any], times: int) -> tuple[float, float]:
    """Medians of (first cell, all cells) of an app that was open before."""
    open_app(page, workbench, name, **state)
    quiet(page)
    first, whole = [], []
    for _ in range(times):
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto(workbench.address(name, **state), wait_until="commit")
        page.locator(".mb-head h1").wait_for()
        first.append(time.perf_counter() - start)
        whole.append(first[-1] + quiet(page, 1000) / 1000)
    return statistics.median(first), statistics.median(whole)


def report(rows: dict[str, dict[str, tuple[float, float]]], molecules: int) -> list[str]:
    """The table, with machine and date."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}, load {load}"
    table = ["| app | demo: first cell | demo: everything | large: first cell | large: everything |", "|---|---|---|---|---|"]
    for app in APPS:
        seconds = [f"{value:.1f} s" for value in (*rows["demo"][app.name], *rows["large"][app.name])]
        table.append(f"| {app.title} | {' | '.join(seconds)} |")
    about = f"Warm, Chromium, medians. Demo: 600 molecules, a study, a final model. Large: a store of {molecules:,} molecules."
    command = "`.venv/bin/python benchmarks/apps.py --write`"
    return ["## Until an app shows something", "", about, "", command, "", machine, "", *table]


def write(lines: list[str]) -> None:
    """Put the section into results.md, in place of the one before."""
    begin, end = "<!-- apps.py: begin -->", "<!-- apps.py: end -->"
    section = "\n".join([begin, *lines, end])
    text = RESULTS.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}\n"
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
