"""Pictures of every app, from a real browser on a workspace that holds a demo.

.venv/bin/python docs/screenshots.py [--workspace runs] [--only attention ...]

<app>.png is 1280 pixels wide, <app>-1920.png wide, <app>-dark.png on a dark ground.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from milbench.ui import APPS  # noqa: E402
from milbench.workspace import scan  # noqa: E402
from workbench import chromium, open_app, quiet, start_workbench  # noqa: E402

INTO = ROOT / "docs" / "screenshots"
LOOKS = (("", 1280, False), ("-1920", 1920, False), ("-dark", 1280, True))
TALLEST, LARGEST = 2200, 400_000
MOST_MS = 12_000
"""A page whose jobs are looked at every two seconds may never be quiet for longer."""


def main() -> None:
    """Take the pictures; one that is larger than `LARGEST` bytes is cut at the foot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=ROOT / "runs")
    parser.add_argument("--only", nargs="*", default=[app.name for app in APPS])
    given = parser.parse_args()
    workspace = given.workspace.absolute()
    found = scan(workspace)
    state = {"source": found.stores[0].name, "store": found.stores[0].name}
    state |= {"study": found.studies[0].name, "run": found.finals[0].name}
    INTO.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        workbench = start_workbench(workspace, Path(scratch) / "log.txt")
        for suffix, width, dark in LOOKS:
            with chromium(Path(scratch) / f"profile{suffix}", width, 900, dark) as browser:
                for name in given.only:
                    page = browser.new_page()
                    open_app(page, workbench, name, **(state if name != "home" else {}))
                    take(page, INTO / f"{name}{suffix}.png", width)
                    page.close()
        workbench.stop()


def take(page: Any, path: Path, width: int) -> None:
    """A picture of the whole page, as tall as it is."""
    quiet(page, 1500, MOST_MS)
    page.evaluate("document.querySelector('#App').scrollTop = 0")
    tall = page.evaluate("document.querySelector('#App').scrollHeight")
    height = min(max(tall, 500), TALLEST)
    while True:
        page.set_viewport_size({"width": width, "height": int(height)})
        quiet(page, 1500, MOST_MS)
        page.screenshot(path=path)
        if path.stat().st_size <= LARGEST or height < 600:
            break
        height *= 0.85
    sys.stdout.write(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
