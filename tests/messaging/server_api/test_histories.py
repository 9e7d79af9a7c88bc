"""`/v3/message/…/query` on the logs of two SETs."""

import itertools
import json
import uuid
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from apps.accounts.directory import TenantEntry
from apps.messaging import chatrooms, exchange, groups, log
from apps.messaging.log import Entry, Log
from apps.messaging.methods import group
from apps.messaging.models import CHATROOM, DIRECTED, GROUP, PRIVATE, RECALLED
from apps.routing import topology
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.im_pb2 import UpStreamMessage
from tests.accounts.tenants import signed
from tests.messaging.asking import ask
from tests.messaging.conftest import SETS
from tests.messaging.server_api.calls import post, refused

NOW = 1 << 53
LATE = 253_402_300_799_999


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def query(tenant: TenantEntry, kind: str, **fields: Any) -> list[dict[str, Any]]:
    """The messages of a call in JSON, whose values are texts, as the Go SDK has them."""
    wanted = {"startTime": LATE, "endTime": 0, "pageSize": 100} | fields
    body = json.dumps({name: str(value).lower() for name, value in wanted.items()}).encode()
    response = post(f"/v3/message/{kind}/query.json", body, signed(tenant), content_type="application/json")
    answer = response.json()
    assert answer["code"] == 200, answer
    found: list[dict[str, Any]] = answer["data"]
    return found


def named(tenant: TenantEntry, server_set: str, but: str = "") -> str:
    """A name whose home in the tenant's cluster is this SET."""
    names = (f"u{n}" for n in itertools.count())
    return next(name for name in names if name != but and topology.home(tenant.id, name) == server_set)


def send(tenant: TenantEntry, kind: int, sender: str, target: str, **facts: Any) -> Entry:
    message = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b'{"content":"hi"}')
    entry = Entry(uuid.uuid4().hex, tenant.id, kind, sender, target, 3, "ppMsgP", message.SerializeToString())
    entry = replace(entry, **facts)
    log.of(topology.home(tenant.id, target)).append([entry], within=1)
    return entry


def change(tenant: TenantEntry, name: str, how: str, *users: str) -> None:
    home = topology.home(tenant.id, name)
    payload = msgpack.packb([how, list(users), ""])
    (verdict,) = group.change(home, [Request(tenant.id, "", "grpChange", name, payload, uuid.uuid4().hex)])
    assert isinstance(verdict, Entry)
    log.of(home).append([verdict], within=1)
    for server_set in SETS:
        exchange.run(server_set)


def test_both_sides_find_their_conversation_whichever_set_they_are_at_home_in(
    alices: TenantEntry, mallorys: TenantEntry
) -> None:
    alice, bob = named(alices, "set1"), named(alices, "set2")
    first = send(alices, PRIVATE, alice, bob)
    second = send(alices, PRIVATE, bob, alice)
    send(alices, PRIVATE, named(alices, "set1", but=alice), bob)
    for reader, peer in ((alice, bob), (bob, alice)):
        found = query(alices, "private", userId=reader, targetId=peer)
        assert [each["messageUID"] for each in found] == [second.uid, first.uid]
    (newest, _) = query(alices, "private", userId=alice, targetId=bob)
    assert newest == {
        "targetId": alice,
        "fromUserId": bob,
        "messageUID": second.uid,
        "msgTime": newest["msgTime"],
        "objectName": "RC:TxtMsg",
        "content": '{"content":"hi"}',
        "expansion": False,
        "extraContent": "",
        "busChannel": "",
    }
    assert query(mallorys, "private", userId=alice, targetId=bob) == []


@pytest.mark.parametrize("backwards", [True, False])
def test_pages_hold_each_message_once_in_either_direction(alices: TenantEntry, backwards: bool) -> None:
    alice, bob = named(alices, "set1"), named(alices, "set2")
    sent = [send(alices, PRIVATE, *pair).uid for pair in [(alice, bob), (bob, alice)] * 5]
    start, end = (LATE, 0) if backwards else (0, LATE)
    found: list[str] = []
    while page := query(
        alices, "private", userId=alice, targetId=bob, startTime=start, endTime=end, pageSize=3
    ):
        assert len(page) <= 4  # the two sides may have sent at one moment
        found += [each["messageUID"] for each in page]
        start = page[-1]["msgTime"]
    assert sorted(found) == sorted(sent)
    times = {
        each["messageUID"]: each["msgTime"] for each in query(alices, "private", userId=alice, targetId=bob)
    }
    assert [times[uid] for uid in found] == sorted(times.values(), reverse=backwards)


def test_the_message_at_the_start_is_there_when_it_is_wanted(alices: TenantEntry) -> None:
    alice, bob = named(alices, "set1"), named(alices, "set1", but=named(alices, "set1"))
    send(alices, PRIVATE, alice, bob)
    send(alices, PRIVATE, alice, bob)
    newest, oldest = (each["msgTime"] for each in query(alices, "private", userId=alice, targetId=bob))
    for start, end in ((newest, oldest), (oldest, newest)):
        asked: dict[str, Any] = {"userId": bob, "targetId": alice, "startTime": start, "endTime": end}
        with_start = [each["msgTime"] for each in query(alices, "private", **asked, includeStart=True)]
        assert with_start == [start, end]
        assert [each["msgTime"] for each in query(alices, "private", **asked)] == [end]


def test_what_a_user_has_removed_or_a_sender_recalled_is_not_found(alices: TenantEntry) -> None:
    alice, bob = named(alices, "set1"), named(alices, "set2")
    send(alices, PRIVATE, alice, bob)
    (first,) = query(alices, "private", userId=bob, targetId=alice)
    wanted = im.CleanHisMsgInput(targetId=alice, dataTime=first["msgTime"], conversationType=1)
    assert ask(bob, "cleanPMsg", wanted, tenant=alices.id).status == 0
    send(alices, PRIVATE, alice, bob, flags=3 | RECALLED)
    send(alices, PRIVATE, alice, bob, flags=2)  # it was not to be kept
    assert query(alices, "private", userId=bob, targetId=alice) == []
    assert [each["messageUID"] for each in query(alices, "private", userId=alice, targetId=bob)] == [
        first["messageUID"]
    ]


def test_of_a_group_a_member_finds_what_was_sent_while_he_was_in_it(alices: TenantEntry) -> None:
    alice, bob, late = (
        named(alices, "set1"),
        named(alices, "set2"),
        named(alices, "set2", named(alices, "set2")),
    )
    name = "the-group"
    change(alices, name, groups.JOIN, alice, bob)
    first = send(alices, GROUP, alice, name)
    change(alices, name, groups.JOIN, late)
    second = send(alices, GROUP, bob, name)
    for reader, expected in (
        (alice, [second.uid, first.uid]),
        (bob, [second.uid, first.uid]),
        (late, [second.uid]),
        ("nobody", []),
    ):
        assert [
            each["messageUID"] for each in query(alices, "group", userId=reader, targetId=name)
        ] == expected
    whole = query(alices, "group", targetId=name)
    assert [each["messageUID"] for each in whole] == [second.uid, first.uid]
    assert query(alices, "group", targetId="another") == []


def test_a_directed_message_is_found_by_those_whom_it_is_for(alices: TenantEntry) -> None:
    alice, bob, carol = named(alices, "set1"), named(alices, "set2"), "carol"
    change(alices, "the-group", groups.JOIN, alice, bob, carol)
    up = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b"{}", toUserIds=["x", bob])
    flags = 3 | DIRECTED
    uid = send(alices, GROUP, alice, "the-group", flags=flags, up=up.SerializeToString()).uid
    for reader, expected in ((alice, [uid]), (bob, [uid]), (carol, [])):
        found = query(alices, "group", userId=reader, targetId="the-group", pageSize=1)
        assert [each["messageUID"] for each in found] == expected


def test_of_a_chatroom_all_is_found_that_was_not_cleaned(alices: TenantEntry, mallorys: TenantEntry) -> None:
    first, second = (send(alices, CHATROOM, "alice", "room") for _ in range(2))
    found = query(alices, "chatroom", targetId="room", userId="anybody")
    assert [each["messageUID"] for each in found] == [second.uid, first.uid]
    assert query(mallorys, "chatroom", targetId="room") == []
    chatrooms.clean(topology.home(alices.id, "room"), alices.id, "room", found[-1]["msgTime"])
    chatrooms.clean(topology.home(alices.id, "room"), alices.id, "room", 1)  # it does not go back
    assert [each["messageUID"] for each in query(alices, "chatroom", targetId="room")] == [second.uid]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"userId": ""}, "userId is required."),
        ({"targetId": ""}, "targetId is required."),
        ({"startTime": ""}, "startTime is required."),
        ({"endTime": "soon"}, f"endTime must be a whole number from 0 to {LATE}."),
        ({"pageSize": "101"}, "pageSize must be a whole number from 1 to 100."),
        ({"includeStart": "maybe"}, "includeStart must be 0, 1, true or false."),
    ],
)
def test_a_call_that_cannot_be_is_refused(alices: TenantEntry, fields: dict[str, str], said: str) -> None:
    good = {"userId": "a", "targetId": "b", "startTime": "1", "endTime": "0"}
    assert refused(alices, "/v3/message/private/query", **(good | fields)) == (400, 1002, said)
