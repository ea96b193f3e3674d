"""What a cell of an app raises, in the server's log too: marimo sends it to the page alone, which a report of it may lack."""

import html
import json
import logging
import re
from collections.abc import Iterator, MutableMapping
from typing import Any

from milbench.guard import ASGIApp, Receive, Scope, Send
from milbench.storage_url import shown

log = logging.getLogger(__name__)

TRACEBACK = "application/vnd.marimo+traceback"
"""How marimo marks a traceback that it sends to a page, as coloured HTML."""


def logged(app: ASGIApp, token: str) -> ASGIApp:
    """`app`, what its cells raise written to the log; neither `token` nor a password in a URL gets there."""

    async def hearing(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            for raised in tracebacks(message.get("text") or ""):
                log.error("%s: a cell raised\n%s", scope["path"], shown(raised).replace(token, "***"))
            await send(message)

        await app(scope, receive, sending if scope["type"] == "websocket" else send)

    return hearing


def tracebacks(text: str) -> list[str]:
    """The tracebacks of a message to a page, as plain text."""
    found = _marked(json.loads(text)) if TRACEBACK in text else ()
    return [html.unescape(re.sub(r"<[^>]*>", "", traceback)).strip() for traceback in found]


def _marked(part: Any) -> Iterator[str]:
    if isinstance(part, dict) and part.get("mimetype") == TRACEBACK:
        yield part["data"]
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _marked(inner)
