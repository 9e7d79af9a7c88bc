"""Every endpoint, whatever is wrong with its parameters: the documented code, and no database asked.

None of these tests has a database: a handler that is reached would fail, and with it the test.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from apps.accounts.directory import Directory, TenantEntry, directory
from apps.messaging.server_api import messages, openapi
from apps.messaging.server_api.body import BODY_MAX, parse
from apps.messaging.server_api.declarations import (
    MAX_BYTES,
    PARAMETER,
    Endpoint,
    MapParam,
    Param,
    Refused,
)
from apps.messaging.server_api.view import ENDPOINTS
from tests.accounts.tenants import signed
from tests.messaging.server_api.calls import post

ALICES = TenantEntry(1, "Alice's", "alices", "the secret of Alice's app")
BLOCK = "/user/block.json"  # needs a user and minutes
EVERY = [pytest.param(each, id=each.path) for each in ENDPOINTS.values()]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Directory(1, {ALICES.app_key: ALICES}, {ALICES.id: ALICES})
    monkeypatch.setattr(directory, "_value", found)
    monkeypatch.setattr(messages, "PATIENCE", 0.1)  # s, of what should not have been reached


Form = list[tuple[str, str]]


def answer(path: str, body: bytes, **options: Any) -> tuple[int, int, str]:
    """(HTTP status, code, message)."""
    response = post(path, body, signed(ALICES), **options)
    found = response.json()
    assert set(found) == {"code", "errorMessage", "url"}
    assert found["url"] == path
    return response.status_code, found["code"], found["errorMessage"]


def wrong(param: Param) -> Iterator[tuple[str, Form]]:
    """(what is wrong, a form of the parameter alone) as its schema tells."""
    schema, name = param.schema, param.name
    if isinstance(param, MapParam):
        yield "too many", [(f"{name}[k{i}]", "v") for i in range(param.most + 1)]
        yield "a key too long", [(f"{name}[{'k' * 65}]", "v")]
        return
    if param.most > 1:
        value = "v" if schema.get("type") == "string" else "{}"
        yield "too many", [(name, value)] * (param.most + 1)
    if "maxLength" in schema:
        yield "too long", [(name, "x" * (schema["maxLength"] + 1))]
    if MAX_BYTES in schema and schema.get("type") == "string":
        yield "too long in bytes", [(name, "忘" * (schema[MAX_BYTES] // 3 + 1))]
        yield "a NUL character", [(name, "a\0b")]
    if "enum" in schema:
        yield "another value", [(name, str(1 << 60))]
    if schema.get("type") == "integer":
        yield "no number", [(name, "many")]
        for limit, beyond in (("minimum", -1), ("maximum", 1)):
            if limit in schema:
                yield f"past its {limit}", [(name, str(schema[limit] + beyond))]
    if schema.get("type") == "boolean":
        yield "neither yes nor no", [(name, "perhaps")]
    if schema.get("type") == "object":
        yield "no object", [(name, "[1]")]
        yield "no JSON", [(name, '{"a":')]
        yield "deep", [(name, '{"a":' * 5000)]
        if (most := schema.get(MAX_BYTES, BODY_MAX)) < BODY_MAX // 2:
            yield "too long", [(name, json.dumps({"a": "x" * most}))]


@pytest.mark.parametrize("endpoint", EVERY)
def test_whatever_is_wrong_with_a_parameter_is_named(endpoint: Endpoint) -> None:
    form, bodies = openapi.form(endpoint), []
    for param in endpoint.params:
        others = [(name, value) for name, value in form if name.partition("[")[0] != param.name]
        bad = dict(wrong(param))
        if param.required:
            bad |= {"missing": [], "empty": [] if param.may_be_empty else [(param.name, "")]}
        for what, pairs in bad.items():
            body = urlencode([*others, *pairs]).encode()
            with pytest.raises(Refused) as refused:
                endpoint.call(ALICES, parse(body))
                pytest.fail(f"{param.name}: {what}")
            assert refused.value.code == PARAMETER, (param.name, what)
            assert str(refused.value).startswith(param.name), (param.name, what)
            bodies.append(body)
    for body in bodies[:1]:  # what one is answered, all are
        assert answer(f"{endpoint.path}.json", body)[:2] == (400, PARAMETER)


@pytest.mark.parametrize("endpoint", EVERY)
def test_examples_of_bodies_are_valid(endpoint: Endpoint) -> None:
    form = urlencode(openapi.form(endpoint)).encode()
    as_json = json.dumps(openapi.example(endpoint)).encode()
    assert endpoint.call(ALICES, parse(form)).values == endpoint.call(ALICES, parse(as_json)).values


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"minute=5",
        b"userId=&minute=5",
        b"userId=,,&minute=5",
        b"userId=a&minute=0",
        b"userId=a&minute=43201",
        b"userId=a&minute=",
        b"userId=a&minute=1.5",
        b"userId=a%0Ab&minute=5",
        b"userId=a\0b&minute=5",
        b"userId=a%00&minute=5",
        b"userId=%FF&minute=5",
        b"userId=\xff&minute=5",
        b"userId=%ED%A0%80&minute=5",  # half of a surrogate pair
        b"\xef\xbb\xbf",
        b"[1,2]",
        b'{"userId":"a"',
        b'{"userId":"\\ud800","minute":5}',
        b'{"userId":["a",null,{}],"minute":"5x"}',
        b'{"userId":{"a":1,"b":2},"minute":[]}',
        b'{"userId":"a","minute":NaN}',
        b'{"userId":"a","minute":1e400}',
        b'{"userId":' + b"[" * 100_000,
        b'{"userId":' * 100_000,
        b'{"userId":"a","minute":' + b"9" * 100_000 + b"}",
        b"userId=a&minute=" + b"9" * 100_000,
        urlencode([("userId", f"u{i}") for i in range(10_000)] + [("minute", "5")]).encode(),
        urlencode({"userId": ",".join(f"u{i}" for i in range(10_000)), "minute": 5}).encode(),
        json.dumps({"userId": [f"u{i}" for i in range(10_000)], "minute": 5}).encode(),
        b"&" * 1_000_000,
        b"a&" * 500_000,
        b"%" * 1_000_000,
        b'{"minute":5,"userId":[' + b",".join([b"1"] * 500_000) + b"]}",
    ],
)
def test_bodies_that_cannot_be_valid_are_1002(body: bytes) -> None:
    assert answer(BLOCK, body)[:2] == (400, 1002)


@pytest.mark.parametrize("size", [BODY_MAX + 1, 2 * BODY_MAX, 8 * BODY_MAX])
def test_a_body_over_one_megabyte_is_1508(size: int) -> None:
    assert answer(BLOCK, b"userId=a&minute=5&x=".ljust(size, b"x"))[:2] == (400, 1508)


def test_a_query_string_is_not_looked_at() -> None:
    response = post(f"{BLOCK}?userId=a&minute=5", b"", signed(ALICES))
    assert (response.status_code, response.json()["code"]) == (400, 1002)
    assert response.json()["url"] == BLOCK


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_not_found(method: str) -> None:
    assert post(BLOCK, b"", signed(ALICES), method=method).status_code == 404


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"isPersisted":"True","count":"7"}', (True, 7)),
        (b'{"isPersisted":true,"count":7}', (True, 7)),
        (b"isPersisted=False&count=%2B7", (False, 7)),
        (b"isPersisted=1&count=+7+", (True, 7)),
        (b"isPersisted=&count=", (True, None)),
        (b"isPersisted=0&isPersisted=1&count=1&count=2", (False, 1)),
    ],
)
def test_scalars_come_as_any_language_prints_them(body: bytes, values: tuple[bool, int | None]) -> None:
    fields = {"fromUserId": ["a"], "objectName": ["X:Y"], "content": ["c"], "toUserId": ["b"]}
    call = ENDPOINTS["/message/private/publish"].call(ALICES, fields | parse(body))
    assert (call["isPersisted"], call["count"]) == values


@pytest.mark.parametrize("body", [b"group%5Bg1%5D=A&group[g2]=B", b'{"group":{"g1":"A","g2":"B"}}'])
def test_maps_come_in_brackets_or_nested(body: bytes) -> None:
    call = ENDPOINTS["/group/sync"].call(ALICES, {"userId": ["alice"]} | parse(body))
    assert call["group"] == {"g1": "A", "g2": "B"}


@pytest.mark.parametrize(
    "body", [b"group=A", b"group[g1=A", b"group[]=A", b'{"group":["g1"]}', b'{"group":"{"}']
)
def test_what_is_no_map_is_none(body: bytes) -> None:
    assert ENDPOINTS["/group/sync"].call(ALICES, {"userId": ["alice"]} | parse(body))["group"] == {}


@pytest.mark.parametrize(
    "path", ["/user/%FF.json", "/user/%00", "/%ED%A0%80", "/" + "a/" * 2000, "/user/../user/block"]
)
def test_strange_paths_are_not_found(path: str) -> None:
    assert post(path, b"", signed(ALICES)).status_code == 404
