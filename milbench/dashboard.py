"""optuna-dashboard over every study of a workspace, whatever folder each lies in. Loaded when it is first opened."""

import asyncio
import json
from pathlib import Path
from typing import Any, cast

from milbench.guard import READS, ASGIApp, Receive, Scope, Send

_READ_ONLY = "This dashboard is read-only. Start the workbench with --writable to change studies here."
_NO_NEW_STUDY = "A study is made, and named by its folder, in the Launch app."


class LateDashboard:
    """The dashboard as ASGI, built at its first request (its imports take seconds), in a thread so that apps do not wait."""

    def __init__(self, root: Path, writable: bool) -> None:
        self.root, self.writable = root, writable
        self._app: ASGIApp | None = None
        self._building = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        if scope["method"] not in READS and not self.writable:
            return await _refused(send, _READ_ONLY)
        if scope["method"] == "POST" and scope["path"].rstrip("/").endswith(("/api/studies", "/rename")):
            return await _refused(send, _NO_NEW_STUDY)
        async with self._building:
            if self._app is None:
                self._app = await asyncio.to_thread(_build, self.root)
        return await self._app(_with_encoding(scope), receive, send)


def _build(root: Path) -> ASGIApp:
    from a2wsgi import WSGIMiddleware
    from optuna_dashboard import wsgi

    from milbench.all_studies import AllStudies

    return cast(ASGIApp, WSGIMiddleware(cast(Any, wsgi(AllStudies(root))), workers=4))


def _with_encoding(scope: Scope) -> Scope:
    """The dashboard answers 500 to clients that send no Accept-Encoding."""
    if any(name.lower() == b"accept-encoding" for name, _ in scope["headers"]):
        return scope
    return {**scope, "headers": [*scope["headers"], (b"accept-encoding", b"identity")]}


async def _refused(send: Send, reason: str) -> None:
    """403 with the reason as the dashboard's page expects it."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"reason": reason}).encode()})
