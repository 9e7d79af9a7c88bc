"""`/api/docs` and `/api/openapi.json`: what the endpoints' declarations say, for people and for programs."""

from __future__ import annotations

import functools
import json
import re
import shlex
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from apps.messaging.server_api import openapi, parameters
from apps.messaging.server_api.declarations import (
    ENDPOINTS,
    HTTP_STATUS,
    MAX_BYTES,
    Endpoint,
    ListParam,
    MapParam,
    Param,
    Schema,
)

# The pages are made once in a process, by a thread: not on the event loop.


def document(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_document(), content_type="application/json; charset=utf-8")


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_page(), content_type="text/html; charset=utf-8")


@functools.cache
def _document() -> bytes:
    return json.dumps(openapi.document(), ensure_ascii=False).encode()


@functools.cache
def _page() -> bytes:
    subjects: dict[str, list[dict[str, Any]]] = {}
    for endpoint in ENDPOINTS.values():
        subjects.setdefault(openapi.subject(endpoint), []).append(_described(endpoint))
    in_order = sorted(subjects.items(), key=lambda item: openapi.place(item[0]))
    context = {"subjects": dict(in_order), "codes": codes()}
    return render_to_string("server_api/reference.html", context).encode()


def codes() -> list[tuple[int, int, str]]:
    """(business code, HTTP status, what it means)."""
    return [(code, status, openapi.MEANING[code]) for code, status in sorted(HTTP_STATUS.items())]


def _described(endpoint: Endpoint) -> dict[str, Any]:
    summary, _, more = endpoint.says.partition(". ")
    answer = openapi.shown({"code": 200, **endpoint.answer})
    return {
        "path": f"{endpoint.path}.json",
        "bare": endpoint.path,
        "anchor": endpoint.path.strip("/").replace("/", "-"),
        "summary": _marked(summary.rstrip(".")),
        "more": _marked(more),
        "parameters": [_parameter(param) for param in endpoint.params],
        "curl": curl(endpoint),
        "answer": json.dumps(answer, ensure_ascii=False, indent=2),
        "codes": openapi.codes(endpoint),
    }


def _marked(says: str) -> SafeString:
    """What is between backticks as code."""
    return mark_safe(re.sub("`([^`]+)`", r"<code>\1</code>", escape(says)))  # it is escaped


def _parameter(param: Param) -> dict[str, Any]:
    kind = _kind(param.schema)
    if isinstance(param, MapParam):
        kind = f"{param.name}[ID]={_kind(param.schema['additionalProperties'])}, up to {param.most} of them"
    elif isinstance(param, ListParam) or param.most > 1:
        kind = f"list of up to {param.most}: {kind}"
    default = "" if param.default in (None, "", {}) else json.dumps(param.default)
    return {
        "name": param.name,
        "required": param.required,
        "kind": kind,
        "default": default,
        "meaning": _marked(parameters.meaning(param)),
    }


def _kind(schema: Schema) -> str:
    """A type and its limits in words."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "minimum" in schema:
        return f"whole number from {schema['minimum']} to {schema['maximum']}"
    words = {"boolean": "0 or 1", "object": "JSON object"}
    kind = words.get(schema.get("type", ""), "text")
    if MAX_BYTES in schema:
        return f"{kind} of up to {schema[MAX_BYTES]} bytes"
    return f"{kind} of up to {schema['maxLength']} characters" if "maxLength" in schema else kind


def curl(endpoint: Endpoint) -> str:
    """A call with what is required, by the shell function that the page begins with."""
    if any(isinstance(param, ListParam) for param in endpoint.params):
        text = json.dumps(openapi.example(endpoint), ensure_ascii=False)
        options = ["-H 'Content-Type: application/json'", f"-d {shlex.quote(text)}"]
    else:
        pairs = [f"{name}={value}" for name, value in openapi.form(endpoint)]
        options = [f"--data-urlencode {shlex.quote(pair)}" for pair in pairs] or ["-d ''"]
    return " \\\n  ".join([f"imcloud {endpoint.path}.json", *options])
