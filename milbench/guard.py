"""What stands in front of the workbench: token, Host and Origin. Plain ASGI, websockets included; loads nothing heavy."""

import html
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost"})
"""What a browser may call this machine: a page of another name that resolves here (DNS rebinding) is refused."""
READS = frozenset({"GET", "HEAD"})
_HEADERS = (
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws://127.0.0.1:* ws://localhost:* "
        b"data: blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'",
    ),
)
"""Added to every answer that says nothing of them: no page loads anything from, or sends anything to, another host."""
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>milbench</title><style>body{{font:17px/1.6 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;
color-scheme:light dark}}code{{background:#8883;padding:.1em .3em;border-radius:4px}}</style>
<h1>{title}</h1><p>{text}</p></html>"""
NO_TOKEN = (
    "This workbench needs its token",
    "Open the whole address that <code>milbench serve</code> printed in the terminal: it ends in <code>?token=…</code>. "
    "Every start has a new one, so an old bookmark or a page of an earlier start no longer opens.",
)


def new_token() -> str:
    """256 random bits, fit for a URL."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Guard:
    """Lets through to `app` who shows `token`, calls this machine by its own name, and comes from no other page.

    The token in the query (`?token=…`) becomes a cookie and the browser is sent to the address without it.
    `port` is part of the cookie's name: cookies know no ports, and two workbenches may run. `public`: paths that say nothing
    and that a browser asks for without its cookies.
    """

    app: ASGIApp
    token: str = field(repr=False)
    port: int
    public: frozenset[str] = frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        foreign = _foreign(headers)
        if foreign:
            return await refuse(scope, send, 403, "Refused", html.escape(foreign))
        if scope["path"] in self.public and scope["type"] == "http" and scope["method"] in READS:
            return await self.app(scope, receive, _with_headers(send))
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token")
        if given is not None and self._is_token(given) and scope["type"] == "http":
            return await self._welcome(scope, send, [(name, value) for name, value in query if name != "token"])
        if given is not None or not self._is_token(self._cookie(headers)):
            return await refuse(scope, send, 401, *NO_TOKEN)
        return await self.app(scope, receive, _with_headers(send))

    @property
    def _cookie_name(self) -> str:
        return f"milbench_{self.port}"

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())

    def _cookie(self, headers: dict[str, str]) -> str:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie_name)
        except CookieError:
            return ""
        return "" if cookie is None else cookie.value

    async def _welcome(self, scope: Scope, send: Send, query: list[tuple[str, str]]) -> None:
        """Keep the token as a cookie and go to the same address without it."""
        clean = quote(scope["path"]) + (f"?{urlencode(query)}" if query else "")
        cookie = f"{self._cookie_name}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        await redirect(send, clean, (b"set-cookie", cookie.encode()), (b"cache-control", b"no-store"))


def _foreign(headers: dict[str, str]) -> str:
    """Why a request is not one of our own pages', or ''."""
    host = headers.get("host", "")
    if host.rsplit(":", 1)[0] not in LOCAL_HOSTS:
        return f"This server answers to {' and '.join(sorted(LOCAL_HOSTS))} only, not to {host!r}."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return f"A page of {origin!r} may not ask this server for anything."
    if headers.get("sec-fetch-site") in {"cross-site", "same-site"} and headers.get("sec-fetch-mode") != "navigate":
        return "Another site's page may not ask this server for anything."
    return ""


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", ())}
            more = [(name, value) for name, value in _HEADERS if name not in there]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending


async def redirect(send: Send, to: str, *headers: tuple[bytes, bytes]) -> None:
    """Send the browser to the path `to` of this server; one leading slash alone, so that it stays this server."""
    location = f"/{to.lstrip('/')}".encode("latin-1")
    await send({"type": "http.response.start", "status": 303, "headers": [(b"location", location), *_HEADERS, *headers]})
    await send({"type": "http.response.body", "body": b""})


async def refuse(scope: Scope, send: Send, status: int, title: str, text: str) -> None:
    """A page that says why; a websocket is closed before it opens. `text` is HTML."""
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008, "reason": title})
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else _PAGE.format(title=title, text=text).encode()
    await send({"type": "http.response.body", "body": body})
    return None
