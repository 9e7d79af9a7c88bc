"""Calls that go past Django are answered as those that go through it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from apps.accounts.directory import TenantEntry
from apps.messaging.server_api import direct
from tests.accounts.tenants import signed
from tests.messaging.server_api.calls import post

BLOCKED = "/user/block/query.json"


def ask(path: str, parts: Sequence[bytes], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a POST whose body comes in these parts."""
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": pairs}
    events = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    sent: list[Any] = []

    async def run() -> None:
        async def receive() -> Any:
            return events.pop(0) if events else await asyncio.Event().wait()

        async def send(event: Any) -> None:
            sent.append(event)

        await asyncio.wait_for(direct.serve(scope, receive, send), 10)

    async_to_sync(run)()
    start, body = sent
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body["body"]


@pytest.mark.parametrize(
    ("body", "broken"),
    [(b"", ""), (b"page=2", ""), (b"page=x", ""), (b"\xff%FF", ""), (b"", "Signature"), (b"", "Nonce")],
)
def test_both_ways_give_the_same_answer(alices: TenantEntry, body: bytes, broken: str) -> None:
    headers = {**signed(alices), "X-Request-ID": "r-1"}
    if broken:
        headers[broken] = "\xe9\xff"
    through = post(BLOCKED, body, headers)
    status, its_headers, its_body = ask(BLOCKED, [body], headers)
    assert (status, its_body) == (through.status_code, through.content)
    for name in ("Content-Type", "X-Request-ID"):
        assert its_headers[name] == through[name]
    assert int(its_headers["Content-Length"]) == len(its_body)


def test_a_body_that_comes_in_parts_is_one_and_one_that_is_too_large_is_not_waited_for(
    alices: TenantEntry,
) -> None:
    assert ask(BLOCKED, [b"pa", b"ge=", b"x"], signed(alices))[0] == 400
    endless = [b"x" * 500_000] * 3 + [b"never read"]
    status, _, body = ask(BLOCKED, endless, signed(alices))
    assert status == 400 and b'"code":1508' in body
    long = {**signed(alices), "Content-Length": str(1 << 30)}
    assert b'"code":1508' in ask(BLOCKED, [b"x"], long)[2]


def test_a_header_that_is_sent_twice_is_as_django_has_it() -> None:
    pairs = [(b"Nonce", b"1"), (b"nonce", b"2"), (b"App-Key", b"k")]
    headers = direct.Headers(pairs)
    assert (headers.get("NONCE"), headers.get("app-key"), headers.get("RC-Nonce")) == ("1,2", "k", None)


@pytest.mark.parametrize(
    ("method", "path", "direct_one"),
    [
        ("POST", "/user/getToken.json", True),
        ("POST", "/user/getToken", True),
        ("GET", "/user/getToken.json", False),
        ("POST", "/user/getToken.xml", False),
        ("POST", "//user/getToken.json", False),
        ("POST", "/admin/", False),
        ("POST", "/user/no", False),
    ],
)
def test_only_calls_of_endpoints_by_their_usual_name_go_past_django(
    method: str, path: str, direct_one: bool
) -> None:
    assert direct.is_call({"method": method, "path": path}) is direct_one
