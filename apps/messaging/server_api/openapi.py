"""The OpenAPI 3.1 document of the server API, made from the declarations of its endpoints."""

from __future__ import annotations

import functools
import json
from typing import Any

from apps.accounts.signatures import BAD_SIGNATURE, LOCKED
from apps.messaging.server_api import parameters
from apps.messaging.server_api.declarations import (
    BODY_TOO_LARGE,
    ENDPOINTS,
    GROUP_FULL,
    HTTP_STATUS,
    INTERNAL,
    NOT_FOUND,
    NOT_OFFERED,
    PARAMETER,
    TIMEOUT,
    TOO_MANY,
    TOO_MANY_USERS,
    TOO_MANY_WORDS,
    TOO_OFTEN,
    Endpoint,
    ListParam,
    MapParam,
    Param,
    Schema,
)

MEANING = {
    200: "Done.",
    NOT_FOUND: "There is no such path.",
    GROUP_FULL: "The group would have too many members.",
    INTERNAL: "Trouble of the server's own: try again.",
    PARAMETER: "A parameter is missing, too long, of the wrong type, or has too many values; which, is said.",
    BAD_SIGNATURE: "A header is missing, the app key is not known, or the signature is not valid.",
    LOCKED: "The app is locked.",
    NOT_OFFERED: "The platform has it, imcloud does not offer it.",
    TIMEOUT: "Not known to be done in time: try again.",
    BODY_TOO_LARGE: "The body is larger than 1 MB.",
    TOO_OFTEN: "The app has used up its calls or messages of this second: try again after Retry-After.",
    TOO_MANY: "The app may have no more groups.",
    TOO_MANY_WORDS: "The app may have no more sensitive words.",
    TOO_MANY_USERS: "The app may have no more users.",
}
# First part of a path -> subject.
_SUBJECTS = {
    "user": "Users",
    "message": "Messages",
    "statusmessage": "Messages",
    "v3": "Messages",
    "group": "Groups",
    "chatroom": "Chatrooms",
    "conversation": "Conversations",
    "tag": "Conversations",
    "sensitiveword": "Sensitive words",
    "wordfilter": "Sensitive words",
    "push": "Push",
}
_HEADERS = {
    "App-Key": "The app's key.",
    "Nonce": "Any text that is not empty.",
    "Timestamp": "Unix time, in seconds or milliseconds.",
    "Signature": "Hexadecimal SHA-1 of the app's secret, the Nonce and the Timestamp, put together as texts.",
}
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "errorMessage": {"type": "string"},
        "url": {"type": "string", "description": "The path that was called."},
    },
    "required": ["code", "errorMessage", "url"],
}


def subject(endpoint: Endpoint) -> str:
    first = endpoint.path.split("/")[1]
    return _SUBJECTS.get(first, first.capitalize())


def place(subject: str) -> tuple[int, str]:
    """Where it belongs among the subjects."""
    known = list(dict.fromkeys(_SUBJECTS.values()))
    return (known.index(subject) if subject in known else len(known), subject)


def codes(endpoint: Endpoint) -> list[int]:
    """What it may be refused with: what any endpoint may be, and what it says of itself."""
    of_some = {code for each in ENDPOINTS.values() for code in each.errors}
    common = HTTP_STATUS.keys() - of_some - {200, NOT_FOUND, NOT_OFFERED}
    return sorted(common | set(endpoint.errors))


def answer_schema(example: Any, *, closed: bool = False) -> Schema:
    """The JSON schema of which this is an example; `closed`: other names than those in it are none of it."""
    if isinstance(example, dict):
        first = next(iter(example), "")
        if first.startswith("<"):
            return {"type": "object", "additionalProperties": answer_schema(example[first], closed=closed)}
        schema: Schema = {
            "type": "object",
            "properties": {
                name.rstrip("?"): answer_schema(value, closed=closed) for name, value in example.items()
            },
            "required": [name for name in example if not name.endswith("?")],
        }
        return schema | {"additionalProperties": False} if closed else schema
    if isinstance(example, list):
        return (
            {"type": "array", "items": answer_schema(example[0], closed=closed)}
            if example
            else {"type": "array"}
        )
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": kinds[type(example)]}


def shown(example: Any) -> Any:
    """An example without the marks of what is not always there."""
    if isinstance(example, dict):
        return {name.rstrip("?"): shown(value) for name, value in example.items()}
    return [shown(value) for value in example] if isinstance(example, list) else example


def example(endpoint: Endpoint) -> dict[str, Any]:
    """A body of its that is valid, in the form of JSON: what is required, and what else is to be shown."""
    return {
        param.name: [parameters.example(param)] if _is_list(param) else parameters.example(param)
        for param in endpoint.params
        if param.required or param.shown
    }


def form(endpoint: Endpoint) -> list[tuple[str, str]]:
    """The same as a form has it."""
    pairs: list[tuple[str, str]] = []
    its = example(endpoint)
    for param in endpoint.params:
        value = its.get(param.name, [])
        if isinstance(param, MapParam) and value:
            pairs += [(f"{param.name}[{key}]", text) for key, text in value.items()]
        else:
            items = value if _is_list(param) or param.name not in its else [value]
            pairs += [(param.name, _as_text(item)) for item in items]
    return pairs


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_list(param: Param) -> bool:
    return isinstance(param, ListParam) or (param.most > 1 and not isinstance(param, MapParam))


def param_schema(param: Param) -> Schema:
    """JSON schema of what a body has under its name."""
    schema = dict(param.schema)
    if schema.get("type") == "string" and param.required and not param.may_be_empty:
        schema.setdefault("minLength", 1)
    if isinstance(param, ListParam) and param.may_be_empty and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if _is_list(param):
        schema = {"type": "array", "items": schema, "maxItems": param.most}
        if param.required and not param.may_be_empty:
            schema["minItems"] = 1
    if param.default not in (None, "", {}):
        schema["default"] = param.default
    if said := parameters.meaning(param):
        schema["description"] = said
    return schema


def _parameters(endpoint: Endpoint) -> Schema:
    return {
        "type": "object",
        "properties": {param.name: param_schema(param) for param in endpoint.params},
        "required": [param.name for param in endpoint.params if param.required],
    }


def _body(endpoint: Endpoint) -> Schema:
    media = {"schema": {"$ref": f"#/components/schemas/{_name(endpoint)}"}, "example": example(endpoint)}
    encoding = {param.name: how for param in endpoint.params if (how := _form_encoding(param)) is not None}
    return {
        "required": any(param.required for param in endpoint.params),
        "content": {
            "application/x-www-form-urlencoded": {**media, "encoding": encoding} if encoding else media,
            "application/json": media,
        },
    }


def _form_encoding(param: Param) -> Schema | None:
    if isinstance(param, MapParam):
        return {"style": "deepObject", "explode": True}
    if param.schema.get("type") == "object":
        return {"contentType": "application/json"}
    return {"style": "form", "explode": True} if _is_list(param) else None


def _responses(endpoint: Endpoint) -> dict[str, Schema]:
    answer = {"code": 200, **endpoint.answer}
    schema = answer_schema(answer)
    schema["properties"]["code"] = {"const": 200}
    responses = {
        "200": {
            "description": MEANING[200],
            "content": {"application/json": {"schema": schema, "example": shown(answer)}},
        }
    }
    by_status: dict[int, list[int]] = {}
    for code in codes(endpoint):
        by_status.setdefault(HTTP_STATUS[code], []).append(code)
    for status, its in sorted(by_status.items()):
        error = {"allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": {"code": {"enum": its}}}]}
        responses[str(status)] = {
            "description": " ".join(f"{code}: {MEANING[code]}" for code in its),
            "content": {"application/json": {"schema": error}},
        }
    return responses


def _name(endpoint: Endpoint) -> str:
    return endpoint.path.strip("/").replace("/", "_")


def _operation(endpoint: Endpoint) -> Schema:
    summary, _, more = endpoint.says.partition(". ")
    operation: Schema = {
        "operationId": _name(endpoint),
        "tags": [subject(endpoint)],
        "summary": summary.rstrip("."),
        "requestBody": _body(endpoint),
        "responses": _responses(endpoint),
    }
    return operation | {"description": more} if more else operation


@functools.cache
def document() -> Schema:
    """All endpoints; they are declared when apps.messaging.server_api.view is imported."""
    in_order = sorted(ENDPOINTS.values(), key=lambda endpoint: endpoint.path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imcloud server API",
            "version": "1",
            "description": "What an app's own server asks of imcloud. Calls are signed POSTs, bodies are "
            "forms or JSON. `.json` at the end of a path may be left out; with `.xml` the answer is XML.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in sorted(set(map(subject, in_order)), key=place)],
        "security": [{name: [] for name in _HEADERS}],
        "paths": {f"{endpoint.path}.json": {"post": _operation(endpoint)} for endpoint in in_order},
        "components": {
            "schemas": {"Error": _ERROR} | {_name(each): _parameters(each) for each in in_order},
            "securitySchemes": {
                name: {"type": "apiKey", "in": "header", "name": name, "description": says}
                for name, says in _HEADERS.items()
            },
        },
    }
