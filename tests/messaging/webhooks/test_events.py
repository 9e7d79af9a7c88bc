"""What tenants' servers are told of who comes and goes, and of chatrooms: in order, once for each change."""

import json
import time
from typing import Any

import msgpack
import pytest

from apps.messaging import chatroom_life, chatrooms, log, tasks
from apps.messaging.log import Log
from apps.messaging.webhooks import events
from apps.messaging.webhooks.dispatcher import Dispatcher
from apps.routing import presence, room_members
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from apps.routing.session_news import LOGOUT, OFFLINE, ONLINE
from tests.messaging.asking import ask
from tests.messaging.conftest import users
from tests.messaging.sending import group_of
from tests.messaging.webhooks.conftest import change, rows, settle, tenant
from tests.messaging.webhooks.receiver import Receiver
from tests.messaging.webhooks.test_routing import move_slot

ALICE, BOB = users("set1", 2)
ROOM = group_of("set1")
WEB = "gateway.1-7"


def news(*changes: tuple[str, int, str], tenant: int = 1, at: int = 1000) -> int:
    """What a gateway tells: (user, status, connection)."""
    told = [
        (tenant, user, status, connection, "Web", "192.0.2.7:4711", at + n)
        for n, (user, status, connection) in enumerate(changes)
    ]
    return tasks._answer("set1", Request(0, "", "sessions", "sessions", msgpack.packb(told))).status


def heard(receiver: Receiver) -> list[dict[str, Any]]:
    return [event for call in receiver.calls for event in call.events]


def test_who_comes_and_goes_is_told_in_order_and_once(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(online_url=receiver.url("/online"))
    assert news((ALICE, ONLINE, WEB), (ALICE, ONLINE, "gateway.1-8"), (ALICE, OFFLINE, WEB)) == 0
    assert news((ALICE, ONLINE, WEB), (ALICE, OFFLINE, WEB)) == 0  # the answer was lost, so it asks again
    assert news((ALICE, LOGOUT, "gateway.1-8"), at=2000) == 0
    settle(set1)
    common = {"userid": ALICE, "clientIp": "192.0.2.7:4711"}
    assert heard(receiver) == [
        common | {"status": "0", "os": "Websocket", "time": 1000, "sessionId": WEB},
        common | {"status": "0", "os": "Websocket", "time": 1001, "sessionId": "gateway.1-8"},
        common | {"status": "1", "time": 1002, "sessionId": WEB},
        common | {"status": "2", "time": 2000, "sessionId": "gateway.1-8"},
    ]
    assert {call.headers["content-type"] for call in receiver.calls} == {"application/json; charset=utf-8"}


def test_of_users_whose_tenant_does_not_ask_nothing_is_kept(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(1, messages_url=receiver.url())
    tenant(2, online_url=receiver.url())
    assert news((ALICE, ONLINE, WEB)) == 0
    assert news((ALICE, ONLINE, WEB), tenant=99) == 0
    assert rows("uid") == []
    assert sets["set1"].read("SELECT count(*) FROM messaging_onlinesession", ()) == [(0,)]


def test_events_that_fail_together_are_told_one_by_one(
    set1: Dispatcher, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.messaging.webhooks.dispatcher.RETRY_AFTER", (0,) * 7)
    tenant(online_url=receiver.url())
    receiver.answer = lambda call: 500 if len(call.events) > 1 else 200
    news((ALICE, ONLINE, WEB), (ALICE, OFFLINE, WEB))
    settle(set1)
    assert [[event["status"] for event in call.events] for call in receiver.calls] == [
        ["0", "1"],
        ["0"],
        ["1"],
    ]


def test_a_user_whose_slot_moved_is_told_of_by_his_new_set(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(online_url=receiver.url())
    news((ALICE, ONLINE, WEB))
    move_slot(ALICE, "set2")
    assert news((ALICE, OFFLINE, WEB)) == 0  # its gateway does not know yet
    assert rows("uid") == []
    assert rows("uid", "set2") == [(f"{WEB}:on",), (f"{WEB}:off",)]
    assert sets["set2"].read("SELECT count(*) FROM messaging_onlinesession", ()) == [(0,)]


def test_a_user_whose_slot_is_just_moving_is_told_of_later(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(online_url=receiver.url())
    none = "UPDATE messaging_head SET slots = %s"
    sets["set1"].run(lambda c: c.execute(none, (bytes(128),)), within=1)
    assert news((ALICE, ONLINE, WEB)) == AckStatus.BUSY
    assert rows("uid") == []


def test_connections_that_went_with_their_gateway_are_told_of_at_the_second_look(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(online_url=receiver.url())
    client = presence.client()
    client.zadd(presence.GATEWAYS, {"g": time.time() * 1000})
    here = msgpack.packb([["g-1", "Web", "5", "192.0.2.7", 1]])
    client.hset(presence.presence_key("g"), presence.user_field(1, ALICE), here)
    news((ALICE, ONLINE, "g-1"), (BOB, ONLINE, "dead-1"))
    events.reconcile("set1")
    assert ("dead-1:off",) not in rows("uid")  # it may come yet
    events.reconcile("set1")
    events.reconcile("set1")
    assert [uid for (uid,) in rows("uid")] == ["g-1:on", "dead-1:on", "dead-1:off"]
    assert news((BOB, OFFLINE, "dead-1")) == 0  # the gateway lives after all
    settle(set1)
    assert [(e["userid"], e["status"]) for e in heard(receiver) if e["status"] != "0"] == [(BOB, "1")]
    client.delete(presence.GATEWAYS)  # Redis is wiped: nobody is taken for gone
    events.reconcile("set1")
    events.reconcile("set1")
    assert len(rows("uid")) == 3


# --- chatrooms


def test_a_chatrooms_life_is_told_in_order(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(chatrooms_url=receiver.url("/rooms"))
    enter = im.ChrmInput(nothing=0)
    chatrooms.create("set1", 1, ROOM, "name")
    chatrooms.create("set1", 1, ROOM, "again")
    for who in (ALICE, ALICE, BOB):  # another device of hers
        assert ask(who, "joinChrm", enter, target=ROOM, server_set="set1").status == 0
    assert ask(BOB, "exitChrm", enter, target=ROOM, server_set="set1").status == 0
    assert ask(BOB, "exitChrm", enter, target=ROOM, server_set="set1").status == 0
    chatroom_life.block("set1", 1, ROOM, [ALICE, BOB], log.now() + 60_000)
    chatrooms.destroy("set1", 1, ROOM)
    chatrooms.destroy("set1", 1, ROOM)
    settle(set1)
    found = heard(receiver)
    assert [(e["type"], e["status"], e["userIds"]) for e in found] == [
        (0, 0, []),
        (1, 0, [ALICE]),
        (1, 0, [BOB]),
        (2, 0, [BOB]),
        (2, 2, [ALICE]),
        (3, 0, []),
    ]
    assert {e["chatRoomId"] for e in found} == {ROOM}
    assert all(abs(e["time"] - log.now()) < 20_000 for e in found)


def test_who_leaves_a_chatroom_by_going_away_is_told_so(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(chatrooms_url=receiver.url("/rooms"))
    chatrooms.create("set1", 1, ROOM)
    ask(ALICE, "joinChrm", im.ChrmInput(nothing=0), target=ROOM, server_set="set1")
    told = {room_members.member_field(1, ROOM, ALICE): 1}
    presence.client().zadd(room_members.told_key("set1"), told)
    chatroom_life.sweep_members("set1")
    chatrooms.destroy("set1", 1, ROOM, chatrooms.DESTROYED_BY_ITSELF)
    assert [tuple(json.loads(body)[k] for k in ("type", "status")) for (body,) in rows("body")] == [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 3),
    ]


def test_a_room_of_a_tenant_that_does_not_ask_leaves_no_row(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(1)
    tenant(2, chatrooms_url=receiver.url())
    chatrooms.create("set1", 1, ROOM)
    ask(ALICE, "joinChrm", im.ChrmInput(nothing=0), target=ROOM, server_set="set1")
    chatrooms.destroy("set1", 1, ROOM)
    assert rows("uid") == []
    change(1, chatrooms_url=receiver.url())
    chatrooms.create("set1", 1, ROOM)
    assert len(rows("uid")) == 1
