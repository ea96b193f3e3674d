"""A small real workspace, a real `milbench serve`, and what a page must not do; the fixtures are in `apps/conftest.py`."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from milbench.cli import main
from milbench.data.demo import make_demo, write_demo
from milbench.demo import make_store
from runs import FIX

APPS = Path(__file__).parent.parent / "apps"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOAST = "An internal error occurred"
"""What marimo shows for some seconds where a cell has raised."""
MOLECULES, STORE, STUDY = 60, "demo/store", "demo/study"


def make_workspace(root: Path) -> None:
    """60 molecules of the demo in `STORE`, and in `STUDY` the smallest model trained on them by `milbench run`."""
    write_demo(make_demo(MOLECULES, seed=0, workers=1), root / "demo")
    make_store(root / "demo" / "tables", root / STORE)
    command = ["run", "--store", str(root / STORE), "--study_dir", str(root / STUDY), "--run_hpo"]
    options = ["--trials", "3", "--folds", "2", "--max_epochs", "4", "--nn_accelerator", "cpu", "--fix", *FIX]
    assert main([*command, *options]) == 0


@dataclass(frozen=True)
class Workbench:
    """A running `milbench serve`: its workspace, the address that it printed, what it wrote on standard error."""

    process: "subprocess.Popen[str]"
    root: Path
    url: str
    log: Path

    @property
    def origin(self) -> str:
        """http://127.0.0.1:PORT"""
        return f"http://{urlsplit(self.url).netloc}"

    @property
    def cookie(self) -> str:
        """Name of the cookie that keeps the token."""
        return f"milbench_{urlsplit(self.url).port}"

    @property
    def token(self) -> str:
        """The token of this start."""
        return self.url.partition("token=")[2]

    def address(self, app: str, **params: object) -> str:
        """Address of an app with its state."""
        query = urlencode({name: str(value) for name, value in params.items()})
        return f"{self.origin}/apps/{app}/" + (f"?{query}" if query else "")

    def stop(self) -> None:
        """Ctrl-C; a server that does not go is an error."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0, self.log.read_text()


_OTHER_APPS = (
    "import pathlib, sys; from milbench import cli, serve; apps = pathlib.Path(sys.argv.pop(1)); "
    "serve.shipped = lambda name: apps; sys.exit(cli.main())"
)


def start_workbench(root: Path, log: Path, *options: str, apps: Path | None = None) -> Workbench:
    """Start `milbench serve` beside its workspace, as people do, on a free port, and wait for its address.

    apps: a folder of other apps than ours (a home.py among them).
    """
    program = ["-m", "milbench.cli"] if apps is None else ["-c", _OTHER_APPS, str(apps)]
    command = [sys.executable, *program, "serve", root.name, "--port", "0", *options]
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=root.parent, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"http://\S+", said)
    assert found, said + log.read_text()
    return Workbench(process, root, found.group(0), log)


@contextmanager
def chromium(profile: Path, width: int = 1280, height: int = 800, dark: bool = False) -> Iterator[Any]:
    """Chromium with the profile in `profile`; its context closes with this one."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            args=FLAGS,
            headless=True,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            env={**os.environ, "LANG": "C.UTF-8"},
        )
        context.set_default_timeout(60_000)
        expect.set_options(timeout=30_000)
        yield context
        context.close()


@dataclass
class Complaints:
    """What a page did and must not do. `expected`: patterns of what a test provokes on purpose."""

    lines: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def listen(self, page: Any) -> None:
        """Hear everything that `page` does from now on."""
        page.on("console", lambda said: self.add(f"console: {said.text}") if is_error(said.type, said.text) else None)
        page.on("pageerror", lambda error: self.add(f"uncaught: {error}"))
        page.on("response", lambda answer: self.add(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
        page.on("request", lambda request: None if is_local(request.url) else self.add(f"foreign: {request.url}"))
        page.on("websocket", lambda socket: None if is_local(socket.url) else self.add(f"foreign: {socket.url}"))
        page.on("requestfailed", self._failed)

    def _failed(self, request: Any) -> None:
        """A request that the browser cut off because its page was left is the one failure that means nothing."""
        if request.failure != "net::ERR_ABORTED":
            self.add(f"failed: {request.url} ({request.failure})")

    def add(self, line: str) -> None:
        """Note a complaint, unless the test provokes it."""
        if not any(re.search(pattern, line) for pattern in self.expected):
            self.lines.append(line)


TAKEN_AWAY = re.compile(r"PlotlyPlugin:  TypeError: Cannot read properties of undefined .*'_redrawFromAutoMarginCount'")
"""What plotly.js says of a figure whose place another output takes while it is still drawn (plotly.js #5159), as when a study
is launched in the second in which the page opens. Nothing of it is on the page any more."""


def is_error(kind: str, text: str) -> bool:
    """Of a console's lines those that tell of an error: marimo writes what a cell raised, and toasts, as a plain line."""
    return (kind == "error" and not TAKEN_AWAY.match(text)) or "Traceback (most recent call last)" in text


def is_local(url: str) -> bool:
    """Whether an address is of this machine, or none of any."""
    parts = urlsplit(url)
    return parts.scheme in {"data", "blob", "about"} or parts.hostname == "127.0.0.1"


def log_in(page: Any, workbench: Workbench) -> None:
    """Open the printed address, as a user does."""
    page.goto(workbench.url)
    loaded(page)


def open_app(page: Any, workbench: Workbench, app: str, **params: object) -> None:
    """Open an app with its state in the URL, and wait for its first cell."""
    if workbench.cookie not in {cookie["name"] for cookie in page.context.cookies()}:
        log_in(page, workbench)
    page.goto(workbench.address(app, **params))
    loaded(page)


def loaded(page: Any) -> None:
    """Wait for an app's first cell, and until the browser has fetched everything."""
    page.locator(".mb-head h1").wait_for()
    page.wait_for_load_state("networkidle")


def quiet(page: Any, still_ms: int = 700, most_ms: int = 60_000) -> float:
    """Wait until the page has not changed for `still_ms`; gives how many ms after now it changed last (0: not at all)."""
    return page.evaluate(_QUIET, [still_ms, most_ms])


_QUIET = """([still, most]) => new Promise(done => {
  const start = performance.now(); let last = start;
  const seen = new MutationObserver(() => { last = performance.now(); });
  seen.observe(document.documentElement, {subtree: true, childList: true, characterData: true, attributes: true});
  const look = () => performance.now() - last > still || performance.now() - start > most
    ? (seen.disconnect(), done(last - start)) : setTimeout(look, 50);
  look();
})"""


def click_until(plot: Any, position: dict[str, float], shown: Any, said: str, times: int = 3) -> None:
    """Click a place of a plot until `shown` says `said`: while a slow machine draws a plot again, a click is lost."""
    from playwright.sync_api import expect

    for _ in range(times - 1):
        plot.click(position=position)
        try:
            expect(shown).to_contain_text(said, timeout=10_000)
        except AssertionError:
            continue
        return
    plot.click(position=position)
    expect(shown).to_contain_text(said)


def cell(page: Any, name: str) -> Any:
    """The output of a named cell; cells come one by one, so look at it with `expect`, which waits."""
    return page.locator(f"[data-cell-name={name}]")


def wait_for(over: Callable[[], bool], wait_s: float = 120.0) -> None:
    """Until something is so, or the test fails."""
    until = time.monotonic() + wait_s
    while not over():
        assert time.monotonic() < until
        time.sleep(0.2)
