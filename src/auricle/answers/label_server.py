"""The page of `auricle label` and its server: one library, this machine only."""

from __future__ import annotations

import hmac
import io
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import soundfile

from auricle.answers.label_segments import Sound
from auricle.answers.label_view import Asked, LabelView
from auricle.errors import AuricleError, ConfigError, StorageError
from auricle.extras import require

PAGE = Path(__file__).parent / "label_page"
FILES = {"": "page.html", "page.css": "page.css", "page.js": "page.js", "icon.svg": "icon.svg"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Names under which a browser of this machine reaches it, through a tunnel too; another one is a page of a foreign site
# whose name was rebound to this address.
HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LARGEST_BODY = 65536

Respond = Callable[[Asked], dict[str, Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class LabelApp:
    """The application of ASGI: the page, and what it asks for.

    Args:
        view: answers.
        token: without it nothing is answered; it is the first part of every path.
    """

    def __init__(self, view: LabelView, token: str) -> None:
        self._view, self._token = view, token
        route = require("starlette.routing", extra="label").Route
        starlette = require("starlette.applications", extra="label").Starlette
        self._responses = require("starlette.responses", extra="label")
        routes = [route(f"/{token}/{name}", self._file(file)) for name, file in FILES.items()]
        routes += [route(f"/{token}/sound/{{row:int}}.wav", self._media("audio/wav", _wave_file))]
        routes += [route(f"/{token}/picture/{{row:int}}.png", self._media("image/png", lambda sound: sound.picture))]
        routes += [route(f"/{token}/{name}", self._answer(respond)) for name, respond in view.gets.items()]
        routes += [
            route(f"/{token}/{name}", self._posted(respond), methods=["POST"]) for name, respond in view.posts.items()
        ]
        self._app = starlette(routes=routes)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Answer a request of ASGI: those of another host, without the token or from another page are refused."""
        if scope["type"] != "http":
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")
        origin = headers.get(b"origin", b"").decode("latin-1")
        token = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        refused = None
        if (host[0] or host[2]) not in HOSTS:
            refused = "this page is served to this machine only: open the address that auricle label printed"
        elif not hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode()):
            refused = "the token is missing or wrong: open the address that auricle label printed"
        elif origin and origin.partition("://")[2] != headers.get(b"host", b"").decode("latin-1"):
            refused = "requests of other pages are refused"

        async def sealed(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        if refused is None:
            await self._app(scope, receive, sealed)
            return
        kind = [(b"content-type", b"text/plain; charset=utf-8")]
        await sealed({"type": "http.response.start", "status": 403, "headers": kind})
        await send({"type": "http.response.body", "body": refused.encode()})

    # What is answered

    def _file(self, name: str) -> Any:
        path = PAGE / name
        content, kind = path.read_bytes(), TYPES[path.suffix]
        return lambda request: self._responses.Response(content, media_type=kind)

    def _answer(self, respond: Respond) -> Any:
        return lambda request: self._json(respond, dict(request.query_params))

    def _posted(self, respond: Respond) -> Any:
        concurrency = require("starlette.concurrency", extra="label")

        async def endpoint(request: Any) -> Any:
            body = b""
            async for part in request.stream():
                body += part
                if len(body) > _LARGEST_BODY:
                    return self._json(_refuse("the request is too large"), {})
            try:
                data = json.loads(body or b"{}")
            except (ValueError, RecursionError):
                data = None
            if not isinstance(data, dict):
                return self._json(_refuse("the request is no JSON object"), {})
            return await concurrency.run_in_threadpool(self._json, respond, data)

        return endpoint

    def _json(self, respond: Respond, asked: Asked) -> Any:
        status = 200
        try:
            data = respond(asked)
        except StorageError as error:
            data, status = {"error": str(error)}, 507
        except AuricleError as error:
            data, status = {"error": str(error)}, 400
        # ASCII: names of files may hold what is no Unicode text.
        return self._responses.Response(json.dumps(data, allow_nan=False), status, media_type="application/json")

    def _media(self, kind: str, make: Callable[[Sound], bytes]) -> Any:

        def endpoint(request: Any) -> Any:
            try:
                sound = self._view.sound(request.path_params["row"])
            except AuricleError as error:
                return self._responses.PlainTextResponse(str(error), 404)
            return self._responses.Response(make(sound), media_type=kind)

        return endpoint


def bound(port: int) -> socket.socket:
    """Return a socket on a port of this machine only; 0: any free one.

    Raises:
        ConfigError: the port is in use, or may not be used.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOSTS[0], port))
        listening.listen(64)
    except (OSError, OverflowError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"port {port} can't be used ({why}); expected a free one. Omit --port for any that is free"
        ) from error
    return listening


def server_of(app: LabelApp) -> Any:
    """Return the uvicorn server of a page; `run(sockets=[...])` answers until the process is interrupted."""
    uvicorn = require("uvicorn", extra="label")
    # No access log: it would hold the token.
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, ws="none", lifespan="off", server_header=False,
        proxy_headers=False, timeout_graceful_shutdown=1, interface="asgi3",
    )  # fmt: skip
    return uvicorn.Server(config)


def _wave_file(sound: Sound) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound.wave.clip(-1, 1), sound.rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _refuse(why: str) -> Respond:
    def refuse(asked: Asked) -> dict[str, Any]:
        raise ConfigError(why)

    return refuse
