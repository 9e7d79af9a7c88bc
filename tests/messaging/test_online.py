"""Online status across two SETs: who is told of whom, when, and what is shown."""

import json
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import redis
from google.protobuf.message import Message

from apps.messaging import log, online_status, slot_moves
from apps.messaging.log import Log
from apps.messaging.methods import online
from apps.routing import databases, presence
from apps.routing.hints import Signal
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import home
from tests.messaging.asking import MALFORMED_BYTES, Told, ask, reply
from tests.messaging.conftest import user, users
from tests.messaging.test_slot_moves import move

ALICE = user("set1")  # watches
BOB = user("set2")  # is watched
CAROL = user("set1", but=ALICE)
WEB, MINI_PROGRAM = 3, 5
GATEWAY = "gateway.1"


@pytest.fixture(autouse=True)
def own_sets(sets: dict[str, Log], redis_client: redis.Redis) -> dict[str, Log]:
    return sets


@pytest.fixture
def told() -> Iterator[Told]:
    listener = Told()
    yield listener
    listener.close()


@pytest.fixture(autouse=True)
def gateway(redis_client: redis.Redis, own_sets: dict[str, Log]) -> "Gateway":
    return Gateway(redis_client)


class Gateway:
    """Says in Redis and to nodes what a gateway says of its users."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._beat()

    def _beat(self) -> None:
        self._client.zadd(presence.GATEWAYS, {GATEWAY: time.time_ns() // 1_000_000})

    def here(self, name: str, *platforms: str, tell: bool = True) -> None:
        """The user is here on these platforms, and on no others."""
        self._beat()
        key, field = presence.presence_key(GATEWAY), presence.user_field(1, name)
        sessions = [[f"{name}-connection", platform, "5", "", 1] for platform in platforms]
        if sessions:
            self._client.hset(key, field, msgpack.packb(sessions))
        else:
            self._client.hdel(key, field)
        if tell:
            self.tell(name, settled=False)

    def tell(self, *names: str, settled: bool) -> None:
        for server_set in {home(1, name) for name in names}:
            its = [[1, name] for name in names if home(1, name) == server_set]
            payload = msgpack.packb([settled, its])
            assert (
                ask("", "presence", payload, tenant=0, target="presence", server_set=server_set).status == 0
            )

    def settle(self, name: str) -> None:
        self._beat()
        self.tell(name, settled=True)


def watch(name: str, *watched: str, expiry: int = 3600) -> int:
    """The version of the list."""
    wanted = im.UpdateUserSubReq(subType=1, opType=0, expiry=expiry, subUsers=details(*watched))
    return reply(im.UpdateUserSubResp, name, "updUserSub", wanted).subTime


def unwatch(name: str, *watched: str) -> int:
    wanted = im.UpdateUserSubReq(subType=1, opType=1, subUsers=details(*watched))
    return reply(im.UpdateUserSubResp, name, "updUserSub", wanted).subTime


def details(*names: str) -> list[im.UserSubDetail]:
    return [im.UserSubDetail(subUserId=name) for name in names]


def watched_by(name: str, version: int = 0) -> dict[str, int]:
    """user -> opType, as a device with this version of the list is told."""
    body = im.PullUserSubReq(version=version)
    listed = reply(im.PullUserSubResp, name, "pullUserSub", body)
    assert listed.isFull and not listed.hasNext and listed.version >= version
    return {user.subUserId: its.opType for its in listed.list for user in its.subUsers}


def shown(name: str, version: int = 0, *, everything: bool = False) -> dict[str, dict[int, int]]:
    """user -> platform -> value, of what is newer than the device's version."""
    data = pull(name, version, everything=everything)
    assert data.isFull is everything
    return {each.subUserId: {its.platformInfo: its.value for its in each.data} for each in data.list}


def pull(name: str, version: int = 0, *, everything: bool = False) -> im.PullSubDataResp:
    body = im.PullSubDataReq(versionTime=version, needAllData=everything)
    return reply(im.PullSubDataResp, name, "pullSubData", body)


def told_to(signals: list[Signal], name: str) -> list[tuple[str, Any]]:
    """What a user's devices are told: the topic, and the type of a notice or the status of somebody."""
    found: list[tuple[str, Any]] = []
    for signal in signals:
        if signal.user == name and signal.topic == "s_cmd":
            found.append(("s_cmd", im.NotifyMsg.FromString(signal.payload).type))
        elif signal.user == name:
            status = im.GetUserStatusOutput.FromString(signal.payload)
            found.append((status.subUserId, json.loads(status.status)["us"]))
    return found


# --- v5


def test_a_watcher_of_another_set_is_told_to_pull_and_is_shown_who_came_and_who_went(
    gateway: Gateway, told: Told
) -> None:
    watch(ALICE, BOB)
    assert told_to(told.signals(), ALICE) == [("s_cmd", 9)]
    gateway.here(BOB, "Web")
    assert told_to(told.signals(), ALICE) == [("s_cmd", 8)]
    assert shown(ALICE) == {BOB: {WEB: 1}}
    gateway.here(BOB)
    assert told.signals() == []  # he may be loading his page anew
    gateway.settle(BOB)
    assert told_to(told.signals(), ALICE) == [("s_cmd", 8)]
    assert shown(ALICE) == {BOB: {WEB: 0}}


def test_who_comes_back_in_time_was_never_away(gateway: Gateway, told: Told) -> None:
    gateway.here(BOB, "Web")
    watch(ALICE, BOB)
    told.signals()
    gateway.here(BOB)
    gateway.here(BOB, "Web")
    gateway.settle(BOB)
    assert told.signals() == []


def test_a_new_watcher_does_not_make_somebody_gone_who_is_just_loading_his_page(
    gateway: Gateway, told: Told
) -> None:
    gateway.here(BOB, "Web")
    watch(ALICE, BOB)
    told.signals()
    gateway.here(BOB, tell=False)
    watch(CAROL, BOB)
    assert told_to(told.signals(), ALICE) == []


def test_each_platform_comes_and_goes_by_itself(gateway: Gateway) -> None:
    watch(ALICE, BOB)
    gateway.here(BOB, "Web", "MiniProgram")
    assert shown(ALICE) == {BOB: {WEB: 1, MINI_PROGRAM: 1}}
    gateway.here(BOB, "MiniProgram")
    gateway.settle(BOB)
    assert shown(ALICE) == {BOB: {WEB: 0, MINI_PROGRAM: 1}}


def test_who_begins_to_watch_is_shown_what_is(gateway: Gateway) -> None:
    gateway.here(BOB, "Web")
    watch(ALICE, BOB, CAROL)
    query = im.QrySubDataReq(subType=1, subUsers=details(BOB, CAROL))
    data = reply(im.PullSubDataResp, ALICE, "qrySubData", query)
    assert {each.subUserId: [its.value for its in each.data] for each in data.list} == {BOB: [1], CAROL: []}
    assert shown(ALICE, everything=True) == {BOB: {WEB: 1}}


def test_a_question_about_users_whom_nobody_watches_is_answered_by_presence(gateway: Gateway) -> None:
    gateway.here(CAROL, "Web")
    query = im.QrySubDataReq(subType=1, subUsers=details(CAROL))
    (of_carol,) = reply(im.PullSubDataResp, ALICE, "qrySubData", query).list
    assert [(its.platformInfo, its.value) for its in of_carol.data] == [(WEB, 1)]


def test_a_device_is_shown_what_is_newer_than_its_version(gateway: Gateway, own_sets: dict[str, Log]) -> None:
    watch(ALICE, BOB, CAROL)
    gateway.here(BOB, "Web")
    sql = "UPDATE messaging_onlinestatus SET changed = changed - 60000"
    own_sets["set2"].run(lambda connection: connection.execute(sql), within=2.0)
    gateway.here(CAROL, "Web")
    version = pull(ALICE).versionTime
    assert shown(ALICE, version) == {CAROL: {WEB: 1}}  # within the overlap
    assert shown(ALICE, version + online.OVERLAP) == {}
    assert pull(ALICE, version + online.OVERLAP).versionTime == version + online.OVERLAP
    assert shown(ALICE, everything=True).keys() == {BOB, CAROL}


def test_who_watches_no_longer_is_told_nothing(gateway: Gateway, told: Told) -> None:
    first = watch(ALICE, BOB, CAROL)
    unwatch(ALICE, BOB)
    told.signals()
    gateway.here(BOB, "Web")
    assert told.signals() == []
    assert shown(ALICE) == {}
    assert watched_by(ALICE) == {CAROL: 0, BOB: 1}
    assert watched_by(ALICE, first) == {CAROL: 0, BOB: 1}
    assert watched_by(ALICE, unwatch(ALICE, BOB)) == {CAROL: 0}


def test_a_subscription_ends_by_itself(gateway: Gateway, told: Told, own_sets: dict[str, Log]) -> None:
    watch(ALICE, BOB, expiry=60)
    sooner = "UPDATE messaging_watch SET until = until - 61000"
    own_sets["set2"].run(lambda connection: connection.execute(sooner), within=2.0)
    sooner = "UPDATE messaging_subscription SET since = since - 61000"
    own_sets["set1"].run(lambda connection: connection.execute(sooner), within=2.0)
    told.signals()
    gateway.here(BOB, "Web")
    assert told.signals() == []
    assert watched_by(ALICE) == {}


def test_the_asking_device_is_not_told_of_its_own_list(told: Told) -> None:
    watch(ALICE, BOB)
    (signal,) = told.signals()
    assert signal.but == f"{ALICE}-connection"


def test_another_tenants_users_of_the_same_names_are_told_nothing(gateway: Gateway, told: Told) -> None:
    wanted = im.UpdateUserSubReq(subType=1, opType=0, expiry=60, subUsers=details(BOB))
    assert ask(ALICE, "updUserSub", wanted, tenant=2).status == 0
    told.signals()
    gateway.here(BOB, "Web")
    assert told.signals() == []
    body = im.PullSubDataReq(versionTime=0)
    answer = ask(ALICE, "pullSubData", body, tenant=2)
    assert not im.PullSubDataResp.FromString(answer.payload).list


def test_one_may_watch_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "SUBSCRIPTIONS_MAX", 2)
    watch(ALICE, BOB, CAROL)
    wanted = im.UpdateUserSubReq(subType=1, opType=0, expiry=60, subUsers=details("x"))
    assert ask(ALICE, "updUserSub", wanted).status == AckStatus.SUBSCRIPTIONS_LIMIT
    watch(ALICE, BOB)  # again is not more
    assert watched_by(ALICE) == {BOB: 0, CAROL: 0}


def test_who_has_too_many_watchers_is_named_and_the_others_are_watched(
    monkeypatch: pytest.MonkeyPatch, gateway: Gateway, told: Told
) -> None:
    monkeypatch.setattr(online, "WATCHERS_MAX", 1)
    watch(CAROL, BOB)
    wanted = im.UpdateUserSubReq(subType=1, opType=0, expiry=60, subUsers=details(BOB, CAROL))
    answer = ask(ALICE, "updUserSub", wanted)
    assert answer.status == AckStatus.WATCHERS_LIMIT
    refused = im.UpdateUserSubResp.FromString(answer.payload)
    assert [each.subUserId for each in refused.subUsers] == [BOB]
    assert watched_by(ALICE) == {BOB: 1, CAROL: 0}
    told.signals()
    gateway.here(BOB, "Web")
    assert told_to(told.signals(), ALICE) == []


def test_a_set_that_is_away_makes_the_call_fail_and_the_next_try_makes_it_whole(
    gateway: Gateway, told: Told, own_sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.messaging.own_state.WITHIN", 0.1)
    url = databases.url
    with monkeypatch.context() as broken:
        away = "postgresql://127.0.0.1:1/set2"
        broken.setattr("apps.routing.databases.url", lambda name: away if name == "set2" else url(name))
        wanted = im.UpdateUserSubReq(subType=1, opType=0, expiry=3600, subUsers=details(BOB))
        assert ask(ALICE, "updUserSub", wanted).status == AckStatus.BUSY
    assert watched_by(ALICE) == {BOB: 0}
    gateway.here(BOB, "Web")
    assert told_to(told.signals(), ALICE) == []
    watch(ALICE, BOB)
    assert shown(ALICE) == {BOB: {WEB: 1}}


# --- v2


def test_v2_is_pushed_the_status_itself(gateway: Gateway, told: Told) -> None:
    subscribed = ask(ALICE, "subUserStatus", im.SubUserStatusInput(userid=[BOB]), generation=2)
    assert subscribed.status == 0
    told.signals()
    gateway.here(BOB, "Web")
    assert told_to(told.signals(), ALICE) == [(BOB, [{"o": 1, "p": "Web", "s": 1}])]
    gateway.here(BOB)
    gateway.settle(BOB)
    assert told_to(told.signals(), ALICE) == [(BOB, [{"o": 0, "p": "Web", "s": 0}])]


def test_v2_calls_himself_something_until_he_goes(gateway: Gateway, told: Told) -> None:
    ask(ALICE, "subUserStatus", im.SubUserStatusInput(userid=[BOB]), generation=2)
    gateway.here(BOB, "Web", "MiniProgram")
    told.signals()
    assert ask(BOB, "setUserStatus", im.SetUserStatusInput(status=7), generation=2).status == 0
    away = [{"o": 1, "p": "MiniProgram", "s": 1}, {"o": 1, "p": "Web", "s": 7}]
    assert told_to(told.signals(), ALICE) == [(BOB, away)]
    asked = reply(im.GetUserStatusOutput, ALICE, "getUserStatus", b"", target=BOB, generation=2)
    assert (asked.subUserId, json.loads(asked.status)) == (BOB, {"us": away})
    gateway.here(BOB)
    gateway.settle(BOB)
    gateway.here(BOB, "Web")
    assert told_to(told.signals(), ALICE)[-1][1][1] == {"o": 1, "p": "Web", "s": 1}


def test_v2_asks_about_somebody_whom_nobody_watches(gateway: Gateway) -> None:
    asked = reply(im.GetUserStatusOutput, ALICE, "getUserStatus", b"", target=CAROL, generation=2)
    assert json.loads(asked.status) == {"us": [{"o": 0, "p": "Web", "s": 0}]}
    gateway.here(CAROL, "Web")
    asked = reply(im.GetUserStatusOutput, ALICE, "getUserStatus", b"", target=CAROL, generation=2)
    assert json.loads(asked.status) == {"us": [{"o": 1, "p": "Web", "s": 1}]}


# --- what goes wrong


def test_whom_a_user_watches_and_who_watches_him_moves_with_his_slot(
    gateway: Gateway, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_moves, "SETTLE", 0)
    watch(ALICE, BOB)
    watch(BOB, ALICE)
    gateway.here(ALICE, "Web")
    move(ALICE, "set2")
    assert rows("set1", "subscription") == rows("set1", "watch") == rows("set1", "onlinestatus") == []
    told.signals()
    gateway.here(BOB, "Web")
    assert told_to(told.signals(), ALICE) == [("s_cmd", 8)]
    assert (shown(ALICE), shown(BOB)) == ({BOB: {WEB: 1}}, {ALICE: {WEB: 1}})


def test_users_of_a_gateway_that_died_are_found_gone_at_the_second_look(gateway: Gateway, told: Told) -> None:
    watch(ALICE, *users("set2", 5))
    for name in users("set2", 5):
        gateway.here(name, "Web")
    gateway.here(BOB, tell=False)
    told.signals()
    online_status.reconcile("set2")
    assert told.signals() == []
    online_status.reconcile("set2")
    assert told_to(told.signals(), ALICE) == [("s_cmd", 8)]
    gone = {name for name, platforms in shown(ALICE).items() if not any(platforms.values())}
    assert gone == {BOB}


def test_who_is_back_at_the_second_look_was_never_away(gateway: Gateway, told: Told) -> None:
    watch(ALICE, BOB)
    gateway.here(BOB, "Web")
    told.signals()
    for platforms in ((), ("Web",), ()):
        gateway.here(BOB, *platforms, tell=False)
        online_status.reconcile("set2")
    assert told.signals() == []


def test_reconciling_looks_at_everybody_whatever_the_page(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online_status, "PAGE", 2)
    watch(ALICE, *users("set2", 5))
    for name in users("set2", 5):
        gateway.here(name, "Web", tell=False)
    online_status.reconcile("set2")
    assert len(shown(ALICE)) == 5


def test_an_empty_redis_makes_nobody_offline(gateway: Gateway, redis_client: redis.Redis, told: Told) -> None:
    watch(ALICE, BOB)
    gateway.here(BOB, "Web")
    told.signals()
    redis_client.flushall()
    gateway.tell(BOB, settled=True)
    online_status.reconcile("set2")
    assert told.signals() == []
    assert shown(ALICE) == {BOB: {WEB: 1}}


def test_what_has_ended_is_forgotten_and_the_rest_is_not(gateway: Gateway, own_sets: dict[str, Log]) -> None:
    watch(ALICE, BOB, CAROL)
    gateway.here(BOB, "Web")
    old = f"UPDATE messaging_onlinestatus SET changed = changed - {2 * online_status.KEPT}"
    for name in ("set1", "set2"):
        own_sets[name].run(lambda connection: connection.execute(old), within=2.0)
        online_status.forget(name)
    assert shown(ALICE, everything=True) == {BOB: {WEB: 1}}
    assert {row[0] for name in own_sets for row in rows(name, "onlinestatus")} == {BOB, CAROL}
    unwatch(ALICE, BOB)
    online_status.forget("set2")
    assert {row[0] for name in own_sets for row in rows(name, "onlinestatus")} == {CAROL}


def rows(server_set: str, table: str) -> list[Any]:
    sql = f'SELECT "user" FROM messaging_{table}'
    return log.of(server_set).read(sql, ())  # type: ignore[arg-type]


def sub(*names: str, **facts: Any) -> im.UpdateUserSubReq:
    return im.UpdateUserSubReq(
        **({"subType": 1, "opType": 0, "expiry": 60} | facts), subUsers=details(*names)
    )


MANY = [f"user{n}" for n in range(online.USERS_A_CALL + 1)]
BAD: dict[str, list[tuple[Message | bytes, int]]] = {
    "updUserSub": [
        (MALFORMED_BYTES, AckStatus.MALFORMED),
        (sub(), AckStatus.MALFORMED),
        (sub(""), AckStatus.MALFORMED),
        (sub("x" * 65), AckStatus.MALFORMED),
        (sub("a\0b"), AckStatus.MALFORMED),
        (sub(*MANY), AckStatus.MALFORMED),
        (sub(BOB, expiry=0), AckStatus.MALFORMED),
        (sub(BOB, expiry=-1), AckStatus.MALFORMED),
        (sub(BOB, opType=2), AckStatus.MALFORMED),
        (sub(BOB, subType=2), AckStatus.SUBSCRIPTION_OFF),
        (b"", AckStatus.SUBSCRIPTION_OFF),
    ],
    "pullUserSub": [(MALFORMED_BYTES, AckStatus.MALFORMED)],
    "pullSubData": [(MALFORMED_BYTES, AckStatus.MALFORMED)],
    "qrySubData": [
        (MALFORMED_BYTES, AckStatus.MALFORMED),
        (im.QrySubDataReq(subType=1), AckStatus.MALFORMED),
        (im.QrySubDataReq(subType=1, subUsers=details(*MANY)), AckStatus.MALFORMED),
        (im.QrySubDataReq(subType=2, subUsers=details(BOB)), AckStatus.SUBSCRIPTION_OFF),
    ],
    "subUserStatus": [
        (MALFORMED_BYTES, AckStatus.MALFORMED),
        (b"", AckStatus.MALFORMED),
        (im.SubUserStatusInput(userid=["a\nb"]), AckStatus.MALFORMED),
        (im.SubUserStatusInput(userid=MANY), AckStatus.MALFORMED),
    ],
    "getUserStatus": [(MALFORMED_BYTES, AckStatus.MALFORMED)],
    "setUserStatus": [
        (MALFORMED_BYTES, AckStatus.MALFORMED),
        (b"", AckStatus.MALFORMED),
        (im.SetUserStatusInput(status=0), AckStatus.MALFORMED),
        (im.SetUserStatusInput(status=-1), AckStatus.MALFORMED),
        (im.SetUserStatusInput(status=256), AckStatus.MALFORMED),
    ],
}


def test_every_method_of_online_status_is_in_the_table_of_bad_input() -> None:
    assert BAD.keys() == online.METHODS.keys()


@pytest.mark.parametrize("method", sorted(BAD))
def test_bad_input_is_refused_and_nothing_is_stored(method: str, told: Told) -> None:
    for body, status in BAD[method]:
        assert ask(ALICE, method, body).status == status, body
    for name in ("set1", "set2"):
        assert [rows(name, table) for table in ("subscription", "watch", "onlinestatus")] == [[], [], []]
    assert told.signals() == []
