"""Navigation: which gateway a client connects to, for every generation of published SDKs.

    v2, v4, v5 up to 5.7    GET /navi.js, /cometnavi.js    JSONP
    v5 from 5.28            POST /v2/navi.json             JSON

A wrong token is answered like a right one: the gateway refuses it in CONNACK, which is the only refusal that
all generations report to the application as "token incorrect". Pages come from other origins and send no
cookies, so every origin may read these answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apps.accounts import tokens
from apps.accounts.directory import TenantEntry, directory
from apps.routing import access_points, addresses

WS, WSS = 5, 6  # `protocol` of an address
CALLBACK = "getServerEndpoint"  # v2 takes off exactly this name; it is also what the others send, or "x"
_CALLBACK_FORM = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.]{0,63}")
_BODY_MAX = 16 * 1024  # bytes

# One answer for all generations: each reads its own fields. `type` 1 would make v4 and v5 refuse to connect;
# without `openHistoryMsg` 0, v5 from 5.36 pulls instead of showing what is pushed to it.
FEATURES: dict[str, Any] = {
    "voipCallInfo": '{"strategy":0}',
    "kvStorage": 1,
    "openMp": 0,
    "openUS": 0,
    "joinMChrm": True,
    "historyMsg": True,
    "chatroomMsg": True,
    "openHistoryMsg": 0,
    "subDriven": 1,
    "type": 0,
    "logSwitch": 0,
    "logPolicy": "{}",
}

View = Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]


def open_to_all(*methods: str) -> Callable[[View], View]:
    """CORS: answers the preflight, lets every origin read the answer, refuses other methods."""
    allowed = ", ".join((*methods, "OPTIONS"))

    def decorate(view: View) -> View:
        async def answer(request: HttpRequest) -> HttpResponse:
            if request.method == "OPTIONS":
                response = HttpResponse(status=204)
                response["Access-Control-Allow-Headers"] = "RC-Appkey, RC-Negotiate, Content-Type"
                response["Access-Control-Max-Age"] = "86400"
            elif request.method in methods:
                response = await view(request)
            else:
                response = HttpResponse(status=405)
                response["Allow"] = allowed
            response["Access-Control-Allow-Origin"] = "*"
            response["Access-Control-Allow-Methods"] = allowed
            response["Cache-Control"] = "no-store"
            return response

        return answer

    return decorate


def features() -> dict[str, Any]:
    """What SDKs are told of this server; where files go, if there is a place for them."""
    return FEATURES | ({"ossConfig": settings.UPLOAD_TARGET} if settings.UPLOAD_TARGET else {})


def gateways(request: HttpRequest, tenant: TenantEntry, user: str) -> list[str]:
    """Where this user finds gateways, host:port each, the best first."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    client = addresses.behind(request.META.get("REMOTE_ADDR", ""), forwarded, settings.PROXIES)
    return access_points.handed_out(
        request.get_host(), client, tenant.cluster, str(tenant.id), user or client
    )


@open_to_all("GET", "HEAD")
async def script(request: HttpRequest) -> HttpResponse:
    """`/navi.js` and `/cometnavi.js`."""
    callback = request.GET.get("callBack") or CALLBACK
    if not _CALLBACK_FORM.fullmatch(callback):
        return _json({"code": 400}, 400)
    tenant = directory.current.by_key(request.GET.get("appId", ""))
    if tenant is None:
        return _json({"code": 403}, 403)  # bare JSON: what v2 expects of a refusal
    user = _user_of(tenant, request.GET.get("token", ""))
    server, *others = gateways(request, tenant, user)
    answer = {
        "code": 200,
        "userId": user,
        "server": server,
        "backupServer": ",".join(others),
        **features(),
    }
    text = f"{callback}({json.dumps(answer, separators=(',', ':'))});"
    response = HttpResponse(text, content_type="application/javascript; charset=utf-8")
    response["X-Content-Type-Options"] = "nosniff"
    return response


@open_to_all("POST")
async def document(request: HttpRequest) -> HttpResponse:
    """`/v2/navi.json`: the app key in a header, the token in a form."""
    tenant = directory.current.by_key(request.headers.get("RC-Appkey", ""))
    if tenant is None:
        return _json({"code": 403}, 403)
    try:
        size = int(request.META.get("CONTENT_LENGTH") or 0)
        form = dict(parse_qsl(request.body.decode())) if size <= _BODY_MAX else {}
    except ValueError:
        form = {}
    secure = request.is_secure() or f"conn={WSS}" in request.headers.get("RC-Negotiate", "")
    user = _user_of(tenant, form.get("token", ""))
    answer = {
        "code": 200,
        "userId": user,
        "serverAddr": [
            {"addr": address, "protocol": WSS if secure else WS, "weight": weight}
            for weight, address in enumerate(reversed(gateways(request, tenant, user)), 1)
        ][::-1],
        **features(),
    }
    return _json(answer, 200)


@open_to_all("GET", "HEAD")
async def ping(request: HttpRequest) -> HttpResponse:
    """v2 asks before it connects; the body is nobody's."""
    return HttpResponse("pong", content_type="text/plain")


def _user_of(tenant: TenantEntry, token: str) -> str:
    """Whose token it is, empty for a wrong one."""
    try:
        return tokens.verify(tenant, token, directory.current.user_restriction).user_id
    except tokens.TokenRefused:
        return ""


def _json(answer: dict[str, Any], status: int) -> HttpResponse:
    text = json.dumps(answer, separators=(",", ":"))
    return HttpResponse(text, status=status, content_type="application/json; charset=utf-8")
