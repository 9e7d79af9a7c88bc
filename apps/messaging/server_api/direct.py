"""The server API's calls as ASGI has them. They need nothing of what Django does for a page, which costs more
than most of the calls themselves: signals in other threads, middleware, a search through URL patterns.

Only calls of known endpoints come this way (`is_call`). Whatever else is said to the API, Django hands on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from apps.messaging.server_api import view
from apps.messaging.server_api.body import BODY_MAX
from apps.messaging.server_api.declarations import ENDPOINTS


def is_call(scope: Mapping[str, Any]) -> bool:
    """Whether the HTTP request calls an endpoint by its usual name."""
    path: str = scope["path"]
    return path.removesuffix(".json") in ENDPOINTS and scope["method"] == "POST"


class Headers(dict[str, str]):
    """By name, in any spelling of its case. Of one that is sent twice, both, as Django has it."""

    def __init__(self, pairs: Any) -> None:
        super().__init__()
        for name, value in pairs:
            text = value.decode("latin-1")
            key = name.decode("latin-1").lower()
            self[key] = f"{dict.__getitem__(self, key)},{text}" if key in self else text

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Request:
    """As much of Django's request as the view looks at."""

    method = "POST"

    def __init__(self, scope: Mapping[str, Any], body: bytes) -> None:
        self.path_info: str = scope["path"]
        self.body = body
        self._scope = scope

    @cached_property
    def headers(self) -> Headers:
        return Headers(self._scope["headers"])

    @property
    def META(self) -> dict[str, str]:
        return {
            "CONTENT_LENGTH": self.headers.get("content-length", ""),
            "HTTP_HOST": self.headers.get("host", ""),
        }

    @property
    def scheme(self) -> str:
        return str(self._scope.get("scheme", "http"))

    def get_host(self) -> str:
        """Of a caller that names none."""
        host, port = self._scope.get("server") or ("localhost", 80)
        return f"{host}:{port}"


async def serve(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """ASGI application of one such call."""
    body = await _body(receive)
    if body is None:
        return  # its caller has gone
    response = await view.serve(Request(scope, body))  # type: ignore[arg-type]
    content = response.content
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    headers.append((b"Content-Length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _body(receive: Any) -> bytes | None:
    """All of it, or a little more than is allowed."""
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
        if not event.get("more_body", False) or len(body) > BODY_MAX:
            return body
