"""The one view of the server API: who calls, what they want, is it valid, do it, say so."""

from __future__ import annotations

import inspect
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from channels.db import database_sync_to_async
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse

from apps.accounts.directory import directory
from apps.accounts.signatures import SignatureRefused, signer
from apps.messaging.server_api import (  # noqa: F401  (they declare the endpoints)
    changes,
    chatroom_users,
    chatrooms,
    conversation_tags,
    conversations,
    departures,
    groups,
    histories,
    history_files,
    messages,
    modifications,
    not_offered,
    private_mutes,
    push,
    push_periods,
    remarks,
    replays,
    sensitive_words,
    system,
    templates,
    user_tags,
    users,
    white_lists,
)
from apps.messaging.server_api.body import BODY_MAX, BadBody, parse
from apps.messaging.server_api.declarations import (
    BODY_TOO_LARGE,
    ENDPOINTS,
    HTTP_STATUS,
    INTERNAL,
    NOT_FOUND,
    NOT_OFFERED,
    PARAMETER,
    Answer,
    Call,
    Endpoint,
    Refused,
    TooOften,
)
from apps.routing.quotas import CALLS, quotas

logger = logging.getLogger(__name__)

THREADS = 6  # at once in handlers that use the ORM: below the connection pool's size
WAITING_MAX = 256  # requests in those threads and before them; the next one is told to retry
_POOL = ThreadPoolExecutor(THREADS, thread_name_prefix="server-api")
_waiting = 0  # counted on the event loop alone
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


async def serve(request: HttpRequest) -> HttpResponse:
    """Any path: an unknown one is answered in the API's own form too."""
    path = re.sub("/+", "/", request.path_info)
    bare = re.sub(r"\.(json|xml)$", "", path)
    headers: dict[str, str] = {}
    try:
        status, answer = 200, {"code": 200, **await _answer(request, bare)}
    except Refused as refusal:
        status = HTTP_STATUS[refusal.code]
        answer = {"code": refusal.code, "errorMessage": str(refusal), "url": path, **refusal.extra}
        if isinstance(refusal, TooOften):
            headers["Retry-After"] = str(refusal.retry_after)
    except SignatureRefused as refusal:
        status = HTTP_STATUS[refusal.code]
        answer = {"code": refusal.code, "errorMessage": str(refusal), "url": path}
    except Exception:
        known = directory.current.by_key(
            request.headers.get("App-Key") or request.headers.get("RC-App-Key", "")
        )
        logger.exception("%s of tenant %d failed", path, known.id if known else 0)
        status = HTTP_STATUS[INTERNAL]
        answer = {"code": INTERNAL, "errorMessage": "Internal error, please retry.", "url": path}
    response = _xml(answer, status) if path.endswith(".xml") else _json(answer, status)
    for name, value in headers.items():
        response[name] = value
    request_id = request.headers.get("X-Request-ID", "")
    if re.fullmatch("[!-~]{1,36}", request_id):
        response["X-Request-ID"] = request_id
    return response


async def _answer(request: HttpRequest, path: str) -> Answer:
    """Of a path without suffix. Nothing is asked of a database before the request is found to be valid."""
    endpoint = ENDPOINTS.get(path)
    if endpoint is None and (sentence := not_offered.why(path)):
        raise Refused(NOT_OFFERED, sentence)
    if endpoint is None or request.method != "POST":
        raise Refused(NOT_FOUND, "There is no such path; every path is called with POST.")
    tenant = signer(request.headers, directory.current.by_key)
    if settings.SIGNATURE_WINDOW or settings.SIGNATURE_ONCE:
        await replays.check(request.headers, tenant)
    if tenant.call_rate is not None and (late := quotas.take(tenant.id, CALLS, tenant.call_rate)):
        raise TooOften("calls", late)
    try:
        fields = parse(_body(request))
    except BadBody as error:
        raise Refused(PARAMETER, str(error)) from None
    base = f"{request.scheme}://{request.META.get('HTTP_HOST') or request.get_host()}"
    call = endpoint.call(tenant, fields, base)
    if inspect.iscoroutinefunction(endpoint.handler):
        return await endpoint.handler(call)  # type: ignore[no-any-return]
    return await _in_thread(endpoint, call)


async def _in_thread(endpoint: Endpoint, call: Call) -> Answer:
    global _waiting
    if _waiting >= WAITING_MAX:
        raise Refused(INTERNAL, "Too many calls are waiting, please retry.")
    _waiting += 1
    try:
        run = database_sync_to_async(endpoint.handler, thread_sensitive=False, executor=_POOL)
        return await run(call)  # type: ignore[no-any-return]
    finally:
        _waiting -= 1


def _body(request: HttpRequest) -> bytes:
    try:
        body = request.body if int(request.META.get("CONTENT_LENGTH") or 0) <= BODY_MAX else None
    except (RequestDataTooBig, ValueError):
        body = None
    if body is None or len(body) > BODY_MAX:
        raise Refused(BODY_TOO_LARGE, f"The body is larger than {BODY_MAX} bytes.")
    return body


def _json(answer: Answer, status: int) -> HttpResponse:
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return HttpResponse(text, status=status, content_type="application/json; charset=utf-8")


def _xml(answer: Answer, status: int) -> HttpResponse:
    text = f'<?xml version="1.0" encoding="UTF-8"?><result>{_elements(answer)}</result>'
    return HttpResponse(text, status=status, content_type="application/xml; charset=utf-8")


def _elements(value: Any) -> str:
    """A dict's items as elements, a list's items as elements of the list's own name."""
    if not isinstance(value, dict):
        return escape(_NOT_XML.sub("\ufffd", str(value)))
    return "".join(
        _element(name, item)
        for name, items in value.items()
        for item in (items if isinstance(items, list) else [items])
    )


def _element(name: str, item: Any) -> str:
    """Ids, and what else may be a key, can be no names of elements."""
    if re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII):
        return f"<{name}>{_elements(item)}</{name}>"
    quoted = quoteattr(_NOT_XML.sub("\ufffd", name))
    return f"<entry name={quoted}>{_elements(item)}</entry>"
