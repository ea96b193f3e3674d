"""How long a page takes until it shows its data, and until all of it is there: every app, warm, in a real browser.

    .venv/bin/python benchmarks/apps.py [--workspace runs] [--molecules 70000] [--write]

`--workspace` holds what `milbench demo` made, as demo/. Beside it is measured one with a store of `--molecules`, a study,
a final model and its attention over all of them, which is made once (a few minutes) and kept in `--large`. Each app is
opened once, which warms the server and the browser's cache, then `--times` times; medians.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from large_workspace import make_large  # noqa: E402
from report import machine, write_section  # noqa: E402

from milbench.address import APPS  # noqa: E402
from milbench.workspace import scan  # noqa: E402
from workbench import Workbench, cell, chromium, log_in, quiet, start_workbench  # noqa: E402

SEEN = {
    "home": "studies",
    "data_prep": "overview",
    "hpo_launch": "search_space",
    "study_review": "glance",
    "attention": "choose_molecule",
    "scoreboard": "at_a_glance",
}
"""The cell of each app that shows its data: what a user came for."""
ABOUT = """## Until an app shows something

Every app opened again in a browser that has had it open before (Chromium; its start does not count). Title: navigation and
heading. First view: the first of the app's data (its studies, prevalences, search space, scores, molecules) is there. All:
nothing has changed any more for a second. CPU: of the server for all of it. Points: in the largest plot. Medians of {times}.
Demo: {demo}. Large: {large}, with a study, a final model and its attention over all of them."""
POINTS = """plots => Math.max(0, ...plots.map(plot => (plot._fullData || []).reduce((sum, trace) => {
    const size = of => (of?._inputArray ?? of)?.length ?? 0;
    const grid = trace.z?.length && trace.z[0]?.length ? trace.z.length * trace.z[0].length : 0;
    return sum + Math.max(grid, ...['x', 'y', 'z', 'text'].map(key => size(trace[key])));
}, 0)))"""


def main() -> None:
    """Measure, print, and with --write put the table into results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=ROOT / "runs")
    parser.add_argument("--molecules", type=int, default=70_000)
    parser.add_argument("--large", type=Path, help="default: a folder for temporary files, by the number of molecules")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[app.name for app in APPS], help="these apps")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of results.md")
    given = parser.parse_args()
    large = given.large or Path(tempfile.gettempdir()) / "milbench-apps" / str(given.molecules)
    make_large(given.workspace / "demo", large, given.molecules)
    roots = {"demo": given.workspace, "large": large}
    with tempfile.TemporaryDirectory() as scratch:
        seen = {name: measured(root, name, Path(scratch), given) for name, root in roots.items()}
    sizes = {name: size_of(root, name) for name, root in roots.items()}
    lines = [
        ABOUT.format(times=given.times, **sizes),
        "",
        f"`{' '.join(['.venv/bin/python', 'benchmarks/apps.py', *sys.argv[1:]])}`",
    ]
    lines += ["", machine(f"load {os.getloadavg()[1]:.1f}"), "", *table(seen)]
    sys.stdout.write("\n".join(lines) + "\n")
    if given.write:
        write_section("apps.py", "\n".join(lines))


def size_of(root: Path, name: str) -> str:
    """The store `name`/store in words."""
    store = next(store for store in scan(root).stores if store.name == f"{name}/store")
    return f"{store.molecules:,} molecules, {store.conformers:,} conformers"


@dataclass(frozen=True)
class Seen:
    """What opening an app took: seconds to its title, its data, and all of it; CPU seconds of the server; points in a plot."""

    title: float
    view: float
    whole: float
    cpu: float
    points: int

    def __str__(self) -> str:
        return f"{self.title:.1f} s | **{self.view:.1f} s** | {self.whole:.1f} s | {self.cpu:.1f} s | {self.points:,}"


def measured(root: Path, name: str, scratch: Path, given: argparse.Namespace) -> dict[str, Seen]:
    """Every app of the workspace `root`, on its data set `name`."""
    state = {"source": f"{name}/store", "store": f"{name}/store", "study": f"{name}/study", "run": f"{name}/study"}
    workbench = start_workbench(root, scratch / f"{name}.txt")
    with chromium(scratch / name) as browser:
        log_in(browser.new_page(), workbench)
        out = {app: one_app(browser, workbench, app, state, given.times) for app in given.only}
    workbench.stop()
    return out


def one_app(browser: Any, workbench: Workbench, name: str, state: dict[str, str], times: int) -> Seen:
    """Medians over openings of an app that was open before."""
    openings = []
    for _ in range(times + 1):
        page = browser.new_page()
        openings.append(opening(page, workbench, name, state))
        page.close()
    parts = zip(*((seen.title, seen.view, seen.whole, seen.cpu) for seen in openings[1:]), strict=True)
    return Seen(*(statistics.median(part) for part in parts), points=openings[-1].points)


def opening(page: Any, workbench: Workbench, name: str, state: dict[str, str]) -> Seen:
    """Open an app in a new tab."""
    before, start = cpu_of(workbench.process.pid), time.perf_counter()
    page.goto(workbench.address(name, **state), wait_until="commit")
    page.locator(".mb-head h1").wait_for()
    title = time.perf_counter() - start
    cell(page, SEEN[name]).get_by_text(re.compile(r"\S")).first.wait_for()
    view = time.perf_counter() - start
    whole = view + quiet(page, 1000) / 1000
    points = page.locator(".js-plotly-plot").evaluate_all(POINTS)
    return Seen(title, view, whole, cpu_of(workbench.process.pid) - before, points)


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def table(seen: dict[str, dict[str, Seen]]) -> list[str]:
    """Rows of the table."""
    columns = ["title", "first view", "all", "CPU", "points"]
    head = ["app", *(f"{name}: {column}" for name in seen for column in columns)]
    titles = {app.name: app.title for app in APPS}
    rows = [[titles[app], *(str(of[app]) for of in seen.values())] for app in seen["demo"]]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    main()
