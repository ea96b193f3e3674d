"""`milbench serve`: the marimo apps, optuna-dashboard and the guard in front, on one port of 127.0.0.1."""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import tyro

from milbench.address import followed
from milbench.cell_errors import logged
from milbench.errors import ConfigError
from milbench.files import copy_folder
from milbench.flags import OptionalCount
from milbench.guard import ASGIApp, Guard, Receive, Scope, Send, new_token, redirect
from milbench.workspace import ROOT_VARIABLE, WRITABLE_VARIABLE

HOST, FIRST_PORT, PORTS = "127.0.0.1", 2718, 20
HOME = "/apps/home"
PUBLIC = frozenset({f"{HOME}/manifest.json"})
"""marimo's own static file that a browser asks for without cookies."""
ASSETS = f"{HOME}/assets/"
NO_MATHJAX = (
    '<script type="text/plain" data-status="ready" '
    'src="https://cdn.jsdelivr.net/npm/mathjax-full@3.2.2/es5/tex-mml-svg.min.js"></script>'
)
"""marimo fetches MathJax from the network for every Plotly figure unless it finds it there; text/plain is never fetched."""
DARK_BUTTONS = '<style title="marimo-milbench">.dark.dark{--secondary:#2f3633;--secondary-foreground:#eceeed}</style>'
"""Buttons on a dark ground, white in marimo, which hands style sheets with such a title on to its elements' own roots."""
ONE_STEP_BACK = "<script>history.pushState = history.replaceState.bind(history)</script>"
"""Every choice is in the address, for which marimo adds a step to the browser's history; Back is to leave the app."""
FOR_EVER = (b"cache-control", b"private, max-age=31536000, immutable")
"""For marimo's assets, whose names change with their content: an app that was opened once opens fast."""


@dataclass(frozen=True)
class ServeConfig:
    """The workbench in a browser: data, studies, attention and scores of everything below a folder."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Folder whose stores, studies and models are shown, and where new ones go."""
    port: OptionalCount = None
    """Port on this machine; default: 2718, or the next one that is free."""
    writable: bool = False
    """Let the embedded optuna-dashboard change and delete studies and trials."""


def serve(config: ServeConfig) -> list[str]:
    """Serve until Ctrl-C; gives the last words."""
    import uvicorn

    os.environ[ROOT_VARIABLE] = str(config.folder)  # as it was given: so do commands and messages name what lies in it
    os.environ[WRITABLE_VARIABLE] = "1" if config.writable else ""
    token = new_token()
    with listen(config.port) as listening:
        port = listening.getsockname()[1]
        app = Guard(logged(workbench(config.folder, config.writable), token), token, port, PUBLIC)
        sys.stdout.write(f"workbench of {config.folder}: http://{HOST}:{port}/?token={token}\nCtrl-C stops it; jobs go on.\n")
        sys.stdout.flush()
        settings = uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=1)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn stops in good order, and then says how it was told to
            uvicorn.Server(settings).run(sockets=[listening])
    return ["workbench stopped"]


def listen(port: int | None) -> socket.socket:
    """A socket that listens on `port`, or where None on the first free one; a taken port is a ConfigError."""
    for candidate in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else (port,):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, candidate))
        except (OSError, OverflowError) as error:
            listening.close()
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE and port is None:
                continue
            why = error.strerror if isinstance(error, OSError) else "not a port"
            raise ConfigError("--port", f"cannot be used ({why})", got=candidate, do="name another, or none") from error
        listening.listen(128)
        return listening
    last = FIRST_PORT + PORTS - 1
    raise ConfigError("--port", f"ports {FIRST_PORT} to {last} are all taken", do="name a free one")


def workbench(root: Path, writable: bool) -> ASGIApp:
    """Everything behind the guard: apps below /apps/, the rest is optuna-dashboard's."""
    from milbench.dashboard import LateDashboard

    apps, dashboard = marimo_apps(), LateDashboard(root, writable)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _life(apps, receive, send)
        path = scope["path"]
        if path in {"/", "/apps", "/apps/"} and scope["type"] == "http":
            return await redirect(send, f"{HOME}/")
        if path.startswith("/apps/"):
            query = followed(scope["query_string"].decode("latin-1"), _referer(scope)) if scope["type"] == "http" else None
            if query is not None:
                return await redirect(send, f"{quote(path)}?{query}")
            return await apps(scope, receive, _kept(send) if path.startswith(ASSETS) else send)
        return await dashboard(scope, receive, send)

    return route


def _referer(scope: Scope) -> str:
    """The page that a request comes from, as the browser says it; '' where it does not."""
    return dict(scope["headers"]).get(b"referer", b"").decode("latin-1")


async def _life(apps: Any, receive: Receive, send: Send) -> None:
    """Close the apps' sessions when the server stops: they wait for ever otherwise."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    for route in apps.routes:
        if hasattr(route, "app") and hasattr(route.app, "state"):
            await route.app.state.session_manager.shutdown()
    await send({"type": "lifespan.shutdown.complete"})


def _kept(send: Send) -> Send:
    """Tells the browser to keep what it is sent, unless that is an error."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] in {200, 304}:
            message = {**message, "headers": [*message["headers"], FOR_EVER]}
        await send(message)

    return sending


def shipped(name: str) -> Path:
    """The folder `name` (apps, notebooks) as an installed milbench carries it, or beside the package in a clone."""
    carried = Path(__file__).parent / f"_{name}"
    return carried if carried.is_dir() else Path(__file__).parent.parent / name


def marimo_apps() -> Any:
    """Every app of the apps folder, run by marimo; their code stays here. All take marimo's assets from one address."""
    import marimo

    files = sorted(shipped("apps").glob("[a-z]*.py"))
    if not files:
        raise ConfigError(shipped("apps"), "holds no apps", do="install milbench again")
    builder = marimo.create_asgi_app(
        quiet=True,
        include_code=False,
        show_tracebacks=True,
        asset_url=HOME,
        html_head=NO_MATHJAX + DARK_BUTTONS + ONE_STEP_BACK,
    )
    for file in files:
        builder = builder.with_app(path=f"/apps/{file.stem}", root=str(file))
    return builder.build()


@dataclass(frozen=True)
class LabConfig:
    """JupyterLab on the notebooks."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("notebooks")
    """Folder with the notebooks; where notebooks/ is not there, it is made with those of milbench."""
    port: OptionalCount = None
    """Port on this machine; default: the first free one that Jupyter finds."""


OFFLINE = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)
"""What keeps JupyterLab from asking the network for news and extensions."""


def run_serve(config: ServeConfig) -> tuple[list[str], int]:
    """Serve until Ctrl-C."""
    return serve(config), 0


def run_lab(config: LabConfig) -> tuple[list[str], int]:
    """Become JupyterLab on 127.0.0.1, with Jupyter's own token."""
    import jupyterlab  # says at once what is not installed

    if config == LabConfig(port=config.port) and not config.folder.is_dir():
        sys.stdout.write(f"{copy_folder(shipped('notebooks'), config.folder)} notebooks copied to {config.folder}\n")
    if not config.folder.is_dir():
        raise ConfigError(config.folder, "no such folder", do="name the folder with your notebooks")
    port = [] if config.port is None else [f"--port={config.port}"]
    command = [sys.executable, "-m", jupyterlab.__name__, str(config.folder), f"--ip={HOST}", "--no-browser", *OFFLINE, *port]
    sys.stdout.flush()
    os.execv(command[0], command)
