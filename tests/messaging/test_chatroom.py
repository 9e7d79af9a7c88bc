"""Chatrooms at a node, against a real log and Redis: who may do what, what is pulled, what ends when."""

import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgpack
import pytest
import redis

from apps.messaging import chatroom_entries, chatroom_life, chatrooms, log, slot_moves, tasks, tenant_rules
from apps.messaging.chatroom_entries import ENTRIES_MAX, OVERWRITE, REMOVED, WITH_OWNER
from apps.messaging.chatrooms import Kind
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, Status, chatroom
from apps.messaging.methods.chatroom import LOW_MAX, NORMAL_MAX, PAGE_BYTES, PULL_PAGE
from apps.messaging.models import Chatroom
from apps.messaging.tenant_rules import Rule, rules
from apps.routing import room_members, topology
from apps.routing.envelope import ELSEWHERE, FROM_SERVER, JOINED, REPEATED, Answer, Request
from apps.routing.models import Cluster, ServerSet, SlotMove
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import MAX_CONTENT
from apps.routing.protocol.uid import UidIssuer
from tests.messaging.conftest import text, user, users

ROOM, OTHER = users("set1", 2)
ELSE = user("set2")
# A tenant whose room of the same name would be at home in the same SET.
FOREIGN = next(tenant for tenant in count(2) if topology.slot(str(tenant), ROOM) % 2 == 0)
HOUR = 3_600_000  # ms
JUNK = b"\x0a\xff\xff\xff\xff\x0f"  # field 1 claims 4 GB
UIDS = UidIssuer(1)


@pytest.fixture(autouse=True)
def own_log(sets: dict[str, Log], redis_client: redis.Redis) -> Iterator[Log]:
    rules.renew()
    yield sets["set1"]


def ask(method: str, who: str, message: Any = None, *, room: str = ROOM, **facts: Any) -> Answer:
    """A query as a worker answers it."""
    payload = (
        message if isinstance(message, bytes) else b"" if message is None else message.SerializeToString()
    )
    return tasks._answer("set1", Request(facts.pop("tenant", 1), who, method, room, payload, **facts))


def join(who: str, *, room: str = ROOM, method: str = "joinChrm") -> Answer:
    return ask(method, who, im.ChrmInput(nothing=0), room=room)


def message(who: str, payload: bytes | None = None, *, room: str = ROOM, **facts: Any) -> Request:
    at = facts.pop("at", None)
    method = facts.pop("method", "chatMsg")
    return Request(
        facts.pop("tenant", 1), who, method, room, text() if payload is None else payload,
        uid=UIDS.next(4, at), **facts,
    )  # fmt: skip


def send(*requests: Request) -> list[int]:
    """The status of each; what may be sent is in the log."""
    verdicts = chatroom.admit("set1", requests)
    entries = [verdict for verdict in verdicts if isinstance(verdict, Entry)]
    if entries:
        log.of("set1").append(entries, within=1)
    return [verdict.status if isinstance(verdict, Refused) else 0 for verdict in verdicts]


def say(who: str, *texts: str, room: str = ROOM) -> None:
    assert not any(
        send(*(message(who, text(each.encode()), room=room, options=FROM_SERVER) for each in texts))
    )


def pull(
    who: str, since: int = 0, count: int = 0, *, joined_at: int = 0, **facts: Any
) -> tuple[list[str], int, bool]:
    """(texts, syncTime, whether that was all)"""
    wanted = im.ChrmPullMsg(syncTime=since, count=count)
    answer = ask("chrmPull", who, wanted, options=JOINED, acknowledged=joined_at, **facts)
    assert not answer.status
    reply = im.DownStreamMessages.FromString(answer.payload)
    return [each.content.decode() for each in reply.list], reply.syncTime, answer.finished


def stored() -> int:
    return int(log.of("set1").read("SELECT count(*) FROM messaging_message", ())[0][0])


# --- who may send


REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "of a room that is not there": (23410, {"room": OTHER}),
    "of another tenant": (23410, {"tenant": FOREIGN}),
    "not in it": (23406, {"who": "eve"}),
    "muted in it": (23408, {"who": "mute"}),
    "muted in all rooms": (23408, {"who": "silent"}),
    "blocked": (23409, {"who": "bad"}),
    "too large": (20115, {"payload": text(b"x" * (MAX_CONTENT + 1))}),
    "not readable": (33003, {"payload": JUNK}),
    "without a class": (33003, {"payload": im.UpStreamMessage(sessionId=3).SerializeToString()}),
    "of a room of another SET": (ELSEWHERE, {"room": ELSE}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_message_that_may_not_be_gets_its_code_and_is_not_stored(what: str) -> None:
    for who in ("alice", "mute", "silent", "bad"):
        assert not join(who).status
    chatrooms.restrict("set1", 1, ROOM, Kind.MUTED, ["mute"], log.now() + HOUR)
    chatrooms.restrict("set1", 1, ROOM, Kind.BLOCKED, ["bad"], log.now() + HOUR)
    tenant_rules.add(1, Rule.MUTED, ["silent"])
    rules.renew()
    code, facts = REFUSED[what]
    facts = dict(facts)
    request = message(facts.pop("who", "alice"), facts.pop("payload", None), **facts)
    before = stored()
    assert send(request, message("alice")) == [code, 0]
    assert stored() == before + 1


def test_in_a_muted_room_only_those_exempt_may_send_and_a_mute_ends_at_its_time() -> None:
    for who in ("alice", "bob", "carol"):
        join(who)
    assert chatrooms.change("set1", 1, ROOM, {"muted": True})
    chatrooms.restrict("set1", 1, ROOM, Kind.EXEMPT, ["bob"])
    assert send(message("alice"), message("bob")) == [23408, 0]
    chatrooms.change("set1", 1, ROOM, {"muted": False})
    chatrooms.restrict("set1", 1, ROOM, Kind.MUTED, ["alice"], log.now() - 1)
    assert send(message("alice")) == [0]


def test_who_has_joined_on_the_connection_may_send_whatever_redis_has_lost(redis_client: redis.Redis) -> None:
    join("alice")
    redis_client.flushall()
    assert send(message("alice"), message("alice", options=JOINED)) == [23406, 0]


def test_the_server_sends_in_anybodys_name_into_any_room_that_is_there() -> None:
    join("alice")
    chatrooms.change("set1", 1, ROOM, {"muted": True})
    assert send(message("nobody", options=FROM_SERVER)) == [0]
    assert send(message("nobody", options=FROM_SERVER, room=OTHER)) == [23410]


def test_a_status_message_is_not_stored() -> None:
    join("alice")
    typing = im.UpStreamMessage(sessionId=0, classname="RC:TypSts", content=b"{}").SerializeToString()
    verdicts = chatroom.admit("set1", [message("alice", method="chatMsgS"), message("alice", typing)])
    assert verdicts == [Status(4), Status(4)]


def of_class(name: str) -> bytes:
    return im.UpStreamMessage(sessionId=3, classname=name, content=b"{}").SerializeToString()


def test_under_load_low_classes_go_first_then_others_and_never_what_is_kept(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who in ("alice", "vip"):
        join(who)
    tenant_rules.add(1, Rule.LOW, ["app:like"])
    tenant_rules.add(1, Rule.KEPT, ["app:gift"])
    rules.renew()
    chatrooms.restrict("set1", 1, ROOM, Kind.KEPT, ["vip"])
    # All of it in one second.
    now = log.now()
    monkeypatch.setattr(room_members, "now_ms", lambda: now)
    like, gift = of_class("app:like"), of_class("app:gift")
    assert send(*(message("alice") for _ in range(LOW_MAX))) == [0] * LOW_MAX
    assert send(message("alice", like), message("alice", gift), message("alice")) == [20607, 0, 0]
    assert not any(send(*(message("alice") for _ in range(NORMAL_MAX - LOW_MAX - 3))))
    assert send(message("alice"), message("alice", gift), message("vip")) == [20607, 0, 0]
    assert room_members.counts("set1", [(1, ROOM)]) == [(2, 2)]


def test_low_classes_are_dropped_when_the_queue_is_late() -> None:
    join("alice")
    tenant_rules.add(1, Rule.LOW, ["app:like"])
    rules.renew()
    late = log.now() - chatroom.LATE - 1000
    old = UidIssuer(2).next(4, late)
    like = message("alice", of_class("app:like"))
    assert send(like._replace(uid=old), message("alice")._replace(uid=old)) == [20607, 0]
    assert send(like) == [0]


# --- coming and going


def test_join_makes_a_room_and_the_one_for_coming_back_does_not() -> None:
    assert join("alice", method="joinChrmR").status == 23410
    answer = join("alice")
    output = im.ChrmOutput.FromString(answer.payload)
    assert output.memberCount == 1 and output.joinTime and output.createTime
    assert join("bob", method="joinChrmR").status == 0
    assert chatrooms.info("set1", 1, ROOM) is not None


def test_who_is_blocked_is_out_and_comes_in_no_more() -> None:
    join("alice")
    chatroom_life.block("set1", 1, ROOM, ["alice", "bob"], log.now() + HOUR)
    assert room_members.are_members(1, ROOM, ["alice"]) == [False]
    assert [join("alice").status, join("bob", method="joinChrmR").status] == [23409, 23409]
    chatrooms.release("set1", 1, ROOM, Kind.BLOCKED, ["alice"])
    assert join("alice").status == 0


def test_a_blocked_user_does_not_bring_a_room_into_being() -> None:
    chatroom_life.block("set1", 1, ROOM, ["alice"], log.now() + HOUR)
    assert join("alice").status == 23410
    assert chatrooms.info("set1", 1, ROOM) is None


def test_members_are_listed_by_when_they_came_and_one_who_comes_again_keeps_his_time() -> None:
    times = {who: join(who).time for who in ("b", "a", "c")}
    assert join("b").time == times["b"]

    def listed(order: int, count: int) -> tuple[int, list[str]]:
        wanted = im.QueryChatRoomInfoInput(count=count, order=order)
        output = im.QueryChatRoomInfoOutput.FromString(ask("queryChrmI", "x", wanted).payload)
        return output.userTotalNums, [each.id for each in output.userInfos]

    assert listed(1, 2) == (3, ["b", "a"])
    assert listed(2, 20) == (3, ["c", "a", "b"])
    assert listed(0, 0) == (3, [])
    assert ask("exitChrm", "a", im.ChrmInput(nothing=0)).status == 0
    assert listed(1, 20) == (2, ["b", "c"])


def be_silent(
    redis_client: redis.Redis, who: str, ms: int, *, room: str = ROOM, server_set: str = "set1"
) -> None:
    """The gateways have told of a member last so long ago."""
    key, name = room_members.told_key(server_set), room_members.member_field(1, room, who)
    assert redis_client.zscore(key, name)
    redis_client.zadd(key, {name: log.now() - ms})


def test_a_member_of_whom_nobody_tells_is_out_after_half_a_minute(redis_client: redis.Redis) -> None:
    for who in ("alice", "bob", "carol"):
        join(who)
    chatrooms.restrict("set1", 1, ROOM, Kind.KEPT, ["carol"])
    be_silent(redis_client, "alice", room_members.GONE + 1)
    be_silent(redis_client, "bob", room_members.GONE - 5000)
    be_silent(redis_client, "carol", room_members.GONE + 1)
    chatroom_life.sweep_members("set1")
    assert room_members.are_members(1, ROOM, ["alice", "bob", "carol"]) == [False, True, True]
    chatroom_life.sweep_members("set1")
    assert room_members.are_members(1, ROOM, ["bob"]) == [True]


# --- what was said


def test_the_first_pull_brings_the_last_messages_and_later_ones_what_is_newer() -> None:
    join("alice")
    say("alice", *(f"h{n}" for n in range(5)))
    at = join("bob").newest
    assert pull("bob", count=3, joined_at=at)[0] == ["h2", "h3", "h4"]
    assert pull("bob", count=50, joined_at=at)[0] == ["h0", "h1", "h2", "h3", "h4"]
    texts, cursor, finished = pull("bob", count=-1, joined_at=at)
    assert (texts, finished) == ([], True)
    assert cursor >= at > 0
    say("alice", "new", "newer")
    texts, later, _ = pull("bob", cursor, joined_at=at)
    assert texts == ["new", "newer"]
    assert pull("bob", later, joined_at=at)[0] == []


@pytest.mark.parametrize(("count", "begin"), [(0, 4), (1, 4), (3, 3)])
def test_what_is_said_between_joining_and_the_first_pull_is_in_it(count: int, begin: int) -> None:
    join("alice")
    say("alice", *(f"h{n}" for n in range(4)))
    at = join("bob").newest
    say("alice", "h4", "h5")
    assert pull("bob", count=count, joined_at=at)[0] == [f"h{n}" for n in range(begin, 6)]


def test_a_long_absence_is_pulled_page_by_page_each_message_once() -> None:
    join("alice")
    say("alice", "first")
    _, cursor, _ = pull("alice")
    texts = [f"m{n}" for n in range(PULL_PAGE + 50)]
    for n in range(0, len(texts), 50):
        log.of("set1").append([chatroom_entry(each) for each in texts[n : n + 50]], within=1)
    found: list[str] = []
    pages = 0
    finished = False
    while not finished:
        page, cursor, finished = pull("alice", cursor)
        found += page
        pages += 1
    assert found == texts
    assert pages == 2


def chatroom_entry(content: str, size: int = 0) -> Entry:
    up = text(content.encode() + b" " * size)
    return Entry(uuid.uuid4().hex, 1, 4, "alice", ROOM, 3, "chatMsg", up, hidden=True)


def test_a_page_of_large_messages_ends_early() -> None:
    join("alice")
    log.of("set1").append([chatroom_entry(f"{n}", PAGE_BYTES // 4) for n in range(6)], within=1)
    texts, cursor, finished = pull("alice", 1)
    assert not finished
    rest, _, finished = pull("alice", cursor)
    assert finished
    assert [each.strip() for each in texts + rest] == list("012345")


def test_a_room_made_anew_knows_nothing_of_the_one_before() -> None:
    join("alice")
    say("alice", "old")
    chatrooms.restrict("set1", 1, ROOM, Kind.MUTED, ["alice"])
    ask("setKV", "alice", setting("k", "v"))
    chatrooms.destroy("set1", 1, ROOM)
    assert send(message("alice", options=JOINED)) == [23410]
    assert room_members.are_members(1, ROOM, ["alice"]) == [False]
    at = join("alice").newest
    say("alice", "new")
    assert pull("alice", count=50, joined_at=at)[0] == ["new"]
    assert pull("alice", 1)[0] == ["new"]
    assert [each.content for each in history("alice", 0, 10)[0]] == [b"new"]
    assert send(message("alice")) == [0]
    assert entries("alice") == ({}, True)


def test_v5_is_not_told_that_its_messages_are_compressed() -> None:
    join("alice")
    say("alice", "x")
    wanted = im.ChrmPullMsg(syncTime=0, count=5)
    for generation, flagged in ((2, True), (4, True), (5, False)):
        answer = ask("chrmPull", "alice", wanted, generation=generation)
        reply = im.ChrmDownStreamMessages.FromString(answer.payload)
        assert (len(reply.list), reply.compressioEnabled) == (1, flagged)


def test_while_a_room_is_held_messages_are_stored_and_shown_to_nobody() -> None:
    join("alice")
    chatrooms.change("set1", 1, ROOM, {"held": True})
    (verdict,) = chatroom.admit("set1", [message("alice")])
    assert isinstance(verdict, Entry)
    assert [row.to for row in log.of("set1").append([verdict], within=1).rows] == [()]
    assert pull("alice", 1)[0] == []
    chatrooms.change("set1", 1, ROOM, {"held": False})
    say("alice", "x")
    assert pull("alice", 1)[0] == ["x"]


def history(who: str, at: int, count: int, order: int = 0, **facts: Any) -> tuple[list[Any], int]:
    wanted = im.HistoryMsgInput(targetId=facts.pop("target", ROOM), time=at, count=count, order=order)
    answer = ask("qryCHMsg", who, wanted, **facts)
    assert not answer.status, answer
    reply = im.HistoryMsgOuput.FromString(answer.payload)
    return list(reply.list), reply.hasMsg


def test_history_goes_both_ways_in_exact_pages_and_has_only_what_is_kept() -> None:
    join("alice")
    join("bob")
    say("alice", *(f"h{n}" for n in range(6)))
    unkept = im.UpStreamMessage(sessionId=0, classname="RC:CmdMsg", content=b"{}").SerializeToString()
    assert send(message("alice", unkept)) == [0]
    say("bob", "h6")
    page, more = history("alice", 0, 3)
    assert ([each.content for each in page], more) == ([b"h6", b"h5", b"h4"], 1)
    assert [each.direction for each in page] == [2, 1, 1]
    page, more = history("alice", page[-1].dataTime, 4)
    assert ([each.content for each in page], more) == ([b"h3", b"h2", b"h1", b"h0"], 0)
    page, more = history("bob", page[1].dataTime, 4, order=1)
    assert ([each.content for each in page], more) == ([b"h3", b"h4", b"h5", b"h6"], 0)
    assert {each.groupId for each in page} == {ROOM}


def test_v2_names_the_room_in_the_question_only_and_asks_its_own_set() -> None:
    join("alice")
    say("alice", "x")
    request = Request(
        1, "alice", "qryCHMsg", "alice", im.HistoryMsgInput(targetId=ROOM, count=5).SerializeToString()
    )
    answer = tasks._answer("set2", request)
    assert [each.content for each in im.HistoryMsgOuput.FromString(answer.payload).list] == [b"x"]


# --- key-value store


def setting(key: str, value: str = "", status: int = 0, **facts: Any) -> im.SetChrmKV:
    return im.SetChrmKV(entry=im.ChrmKVEntity(key=key, value=value, status=status), **facts)


def settings(*pairs: tuple[str, str], status: int = 0) -> im.SetChrmKVS:
    return im.SetChrmKVS(entry=[im.ChrmKVEntity(key=key, value=value, status=status) for key, value in pairs])


def changes(who: str, since: int) -> tuple[list[im.ChrmKVEntity], bool, int]:
    answer = ask("pullKV", who, im.QueryChrmKV(timestamp=since))
    assert not answer.status
    output = im.ChrmKVOutput.FromString(answer.payload)
    return list(output.entries), output.bFullUpdate, output.syncTime


def entries(who: str) -> tuple[dict[str, str], bool]:
    found, whole, _ = changes(who, 0)
    return {each.key: each.value for each in found}, whole


def test_entries_are_set_taken_over_and_removed_by_whom_they_may_be() -> None:
    join("alice")
    join("bob")

    def codes(*steps: tuple[str, str, im.SetChrmKV]) -> list[int]:
        return [ask(method, who, what).status for who, method, what in steps]

    assert codes(("alice", "setKV", setting("k", "1")), ("alice", "setKV", setting("k", "2"))) == [0, 0]
    assert codes(("bob", "setKV", setting("k", "3")), ("bob", "delKV", setting("k"))) == [23424, 23424]
    assert entries("bob") == ({"k": "2"}, True)
    assert codes(("bob", "setKV", setting("k", "4", OVERWRITE)), ("alice", "delKV", setting("k"))) == [
        0,
        23424,
    ]
    assert codes(("alice", "delKV", setting("k", status=OVERWRITE))) == [0]
    assert codes(("alice", "delKV", setting("k")), ("alice", "delKV", setting("never"))) == [23427, 23427]
    assert entries("alice") == ({}, True)


def test_who_asks_again_hears_only_of_what_has_changed() -> None:
    join("alice")
    ask("setKVS", "alice", settings(("a", "1"), ("b", "1")))
    found, whole, cursor = changes("alice", 0)
    assert whole and {each.key for each in found} == {"a", "b"}
    assert all(each.timestamp and each.version and each.uid == "alice" for each in found)
    assert changes("alice", cursor) == ([], False, cursor)
    ask("setKV", "alice", setting("a", "2"))
    ask("delKV", "alice", setting("b"))
    found, whole, later = changes("alice", cursor)
    assert not whole and later > cursor
    assert [(each.key, each.value, bool(each.status & REMOVED)) for each in found] == [
        ("a", "2", False),
        ("b", "", True),
    ]


def test_removed_entries_are_forgotten_in_time_and_who_missed_it_gets_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    join("alice")
    ask("setKVS", "alice", settings(("a", "1"), ("b", "1")))
    _, _, cursor = changes("alice", 0)
    ask("delKV", "alice", setting("b"))
    chatroom_entries.forget("set1")
    assert [each.key for each in changes("alice", cursor)[0]] == ["b"]
    monkeypatch.setattr(chatroom_entries, "REMEMBERED", -HOUR)
    chatroom_entries.forget("set1")
    found, whole, later = changes("alice", cursor)
    assert whole and [each.key for each in found] == ["a"]
    assert changes("alice", later) == ([], False, later)


def test_a_room_has_a_hundred_entries_at_most_and_some_of_a_call_may_fail() -> None:
    join("alice")
    join("bob")
    most = [chatroom_entries.Setting(f"k{n}", "v") for n in range(ENTRIES_MAX - 1)]
    assert not chatroom_entries.set_entries("set1", 1, ROOM, "alice", most).errors
    answer = ask("setKVS", "bob", settings(("k0", "x"), ("new", "x"), ("more", "x")))
    assert answer.status == 23428
    output = im.ChrmKVSOutput.FromString(answer.payload)
    assert [(each.key, each.errorCode) for each in output.errorKeys] == [("k0", 23424), ("more", 23423)]
    assert [each.key for each in output.keysVersion] == ["new"]
    assert ask("setKV", "alice", setting("k0", "again")).status == 0
    answer = ask("delKVS", "alice", settings(("k1", ""), ("nothing", "")))
    assert answer.status == 23428
    assert len(entries("alice")[0]) == ENTRIES_MAX - 1


BAD_ENTRIES = {
    "no key": setting("", "v"),
    "a long key": setting("k" * 129, "v"),
    "a strange key": setting("a b", "v"),
    "a long value": setting("k", "v" * 4097),
    "a value that no database takes": setting("k", "\0"),
}


@pytest.mark.parametrize("what", BAD_ENTRIES)
def test_an_entry_that_cannot_be_is_refused(what: str) -> None:
    join("alice")
    assert ask("setKV", "alice", BAD_ENTRIES[what]).status == 23412
    assert entries("alice") == ({}, True)


def test_too_many_changes_a_second_are_refused() -> None:
    join("alice")
    statuses = {
        ask("setKVS", "alice", settings(*((f"{n}", "v") for n in range(20)))).status for _ in range(12)
    }
    assert 23425 in statuses
    assert ask("setKVS", "alice", settings(*((f"{n}", "v") for n in range(21)))).status == 23431


def test_an_app_may_have_the_store_switched_off() -> None:
    join("alice")
    tenant_rules.add(1, Rule.NO_ENTRIES, [""])
    rules.renew()
    statuses = [
        ask("setKV", "alice", setting("k", "v")).status,
        ask("pullKV", "alice", im.QueryChrmKV(timestamp=0)).status,
    ]
    assert statuses == [23426, 23426]
    tenant_rules.remove(1, Rule.NO_ENTRIES, [""])
    rules.renew()
    assert ask("setKV", "alice", setting("k", "v")).status == 0


def test_entries_go_with_their_owner_when_he_leaves_or_is_gone(redis_client: redis.Redis) -> None:
    for who in ("alice", "bob", "carol"):
        join(who)
        ask("setKVS", who, settings((f"{who}-goes", "x"), status=WITH_OWNER))
        ask("setKV", who, setting(f"{who}-stays", "x"))
    _, _, cursor = changes("carol", 0)
    ask("exitChrm", "alice", im.ChrmInput(nothing=0))
    be_silent(redis_client, "bob", room_members.GONE + 1)
    chatroom_life.sweep_members("set1")
    stays = {"alice-stays", "bob-stays", "carol-goes", "carol-stays"}
    assert entries("carol")[0].keys() == stays
    found, _, _ = changes("carol", cursor)
    assert {(each.key, bool(each.status & REMOVED)) for each in found} == {
        ("alice-goes", True),
        ("bob-goes", True),
    }


def test_entries_go_with_an_owner_who_went_while_redis_was_wiped(redis_client: redis.Redis) -> None:
    for who in ("alice", "bob"):
        join(who)
        ask("setKV", who, setting(f"{who}-goes", "x", status=WITH_OWNER))
    manage = msgpack.packb(["set_entries", "host", {"of-host": "x"}, True])  # he has not come yet
    assert not ask("manageChrm", "", manage).status
    redis_client.flushall()
    join("bob")  # his gateway tells of him again; nobody tells of alice
    chatroom_life.sweep_rooms("set1")
    chatroom_life.sweep_members("set1")
    assert entries("bob")[0].keys() == {"alice-goes", "bob-goes", "of-host"}, "she may be announced yet"
    be_silent(redis_client, "alice", room_members.GONE + 1)
    chatroom_life.sweep_members("set1")
    chatroom_life.sweep_rooms("set1")
    assert entries("bob")[0].keys() == {"bob-goes", "of-host"}
    assert [each.status for each in changes("bob", 0)[0] if each.key == "of-host"] == [WITH_OWNER | OVERWRITE]
    join("host")
    ask("exitChrm", "host", im.ChrmInput(nothing=0))
    assert entries("bob")[0].keys() == {"bob-goes"}


def test_a_change_is_announced_in_the_room_as_its_makers_message_and_only_once() -> None:
    join("alice")
    join("bob")
    notice = im.UpStreamMessage(sessionId=0, classname="RC:chrmKVNotiMsg", content=b'{"key":"k"}')
    change = setting("k", "v", bNotify=True, notification=notice, type=4)
    assert ask("setKV", "alice", change).status == 0
    assert ask("setKV", "alice", change, options=REPEATED).status == 0  # the answer to the first was lost
    assert ask("setKV", "bob", change).status == 23424
    assert pull("bob", 1)[0] == ['{"key":"k"}']
    notice.content = b"\xff"
    change.notification.CopyFrom(notice)
    assert ask("setKV", "alice", change).status == 33003


# --- bad questions


MEMBERS_ONLY = ("chrmPull", "setKV", "delKV", "setKVS", "delKVS", "pullKV")
QUESTIONS: dict[str, Any] = {
    "joinChrm": im.ChrmInput(nothing=0),
    "joinChrmR": im.ChrmInput(nothing=0),
    "exitChrm": im.ChrmInput(nothing=0),
    "queryChrmI": im.QueryChatRoomInfoInput(count=5, order=1),
    "chrmPull": im.ChrmPullMsg(syncTime=0, count=5),
    "setKV": setting("k", "v"),
    "delKV": setting("k", "v"),
    "setKVS": settings(("k", "v")),
    "delKVS": settings(("k", "v")),
    "pullKV": im.QueryChrmKV(timestamp=0),
}


@pytest.mark.parametrize("method", QUESTIONS)
def test_a_question_that_is_no_protobuf_is_malformed(method: str) -> None:
    join("alice")
    assert ask(method, "alice", JUNK, options=JOINED).status == 33003


@pytest.mark.parametrize("method", sorted(QUESTIONS.keys() - {"joinChrm", "exitChrm"}))
def test_a_question_about_a_room_that_is_not_there_or_another_tenants_is_told_so(method: str) -> None:
    join("alice")
    assert ask(method, "alice", QUESTIONS[method], room=OTHER, options=JOINED).status == 23410
    assert ask(method, "alice", QUESTIONS[method], tenant=FOREIGN, options=JOINED).status == 23410
    assert chatrooms.info("set1", 1, OTHER) is None


@pytest.mark.parametrize("method", QUESTIONS)
def test_a_question_about_a_room_of_another_set_is_sent_there(method: str) -> None:
    assert ask(method, "alice", QUESTIONS[method], room=ELSE, options=JOINED).status == ELSEWHERE


@pytest.mark.parametrize("method", MEMBERS_ONLY)
def test_who_is_not_in_a_room_learns_nothing_of_it_and_changes_nothing(method: str) -> None:
    join("alice")
    assert ask(method, "eve", QUESTIONS[method]).status == 23406
    assert entries("alice") == ({}, True)


@pytest.mark.parametrize("method", sorted(QUESTIONS.keys() - {"exitChrm"}))
def test_who_is_blocked_is_told_so(method: str) -> None:
    join("alice")
    chatroom_life.block("set1", 1, ROOM, ["bad"], log.now() + HOUR)
    assert ask(method, "bad", QUESTIONS[method], options=JOINED).status == 23409


@pytest.mark.parametrize(
    ("target", "status"), [(b"\xff", 33003), (b"", 33003), (b"a\0b", 33003), (OTHER.encode(), 23410)]
)
def test_a_history_of_what_is_no_room_is_refused(target: bytes, status: int) -> None:
    join("alice")
    payload = b"\x0a" + bytes([len(target)]) + target + b"\x18\x05"
    assert ask("qryCHMsg", "alice", payload).status == status
    assert ask("qryCHMsg", "eve", im.HistoryMsgInput(targetId=ROOM, count=5)).status == 23406


# --- when rooms end


def make_idle(redis_client: redis.Redis, room: str, ms: int) -> None:
    redis_client.zadd(room_members.active_key("set1"), {room_members.room_field(1, room): log.now() - ms})


def test_an_idle_room_is_destroyed_and_one_that_is_kept_is_not(redis_client: redis.Redis) -> None:
    kept = users("set1", 3)[2]
    for room in (ROOM, OTHER, kept):
        chatrooms.create("set1", 1, room)
    chatrooms.change("set1", 1, kept, {"kept": True})
    for room, age in ((ROOM, HOUR + 1), (OTHER, HOUR - 60_000), (kept, HOUR + 1)):
        make_idle(redis_client, room, age)
    chatroom_life.sweep_rooms("set1")
    there = [chatrooms.info("set1", 1, room) is not None for room in (ROOM, OTHER, kept)]
    assert there == [False, True, True]
    assert chatrooms.named("set1", 1, "kept") == [kept]


def test_members_and_messages_keep_a_room(redis_client: redis.Redis) -> None:
    for act in (lambda: join("alice"), lambda: send(message("nobody", options=FROM_SERVER))):
        chatrooms.create("set1", 1, ROOM)
        make_idle(redis_client, ROOM, HOUR + 1)
        act()
        chatroom_life.sweep_rooms("set1")
        assert chatrooms.info("set1", 1, ROOM) is not None


def test_a_wiped_redis_gives_every_room_its_time_anew(redis_client: redis.Redis) -> None:
    chatrooms.create("set1", 1, ROOM)
    redis_client.flushall()
    chatroom_life.sweep_rooms("set1")
    assert chatrooms.info("set1", 1, ROOM) is not None
    make_idle(redis_client, ROOM, HOUR + 1)
    chatroom_life.sweep_rooms("set1")
    assert chatrooms.info("set1", 1, ROOM) is None


def test_a_room_for_a_fixed_time_ends_with_it_however_busy_it_is(own_log: Log) -> None:
    chatrooms.create("set1", 1, ROOM, destroyed=Chatroom.Destroyed.AGED, destroy_after=60)
    join("alice")
    own_log.run(lambda c: c.execute("UPDATE messaging_chatroom SET created = %s", (log.now(),)), within=1)
    chatroom_life.sweep_rooms("set1")
    assert chatrooms.info("set1", 1, ROOM) is not None
    own_log.run(
        lambda c: c.execute("UPDATE messaging_chatroom SET created = created - %s", (HOUR,)), within=1
    )
    chatroom_life.sweep_rooms("set1")
    assert chatrooms.info("set1", 1, ROOM) is None


def test_a_room_that_gateways_tell_of_and_that_is_not_there_is_forgotten() -> None:
    room_members.join("set1", 1, ROOM, "alice")
    chatroom_life.sweep_rooms("set1")
    assert room_members.are_members(1, ROOM, ["alice"]) == [False]
    assert (1, ROOM) not in room_members.last_active("set1")


def test_a_room_that_another_set_has_by_now_is_left_to_it() -> None:
    room_members.join("set1", 1, ELSE, "alice")
    chatroom_life.sweep_rooms("set1")
    assert room_members.are_members(1, ELSE, ["alice"]) == [True]
    assert (1, ELSE) not in room_members.last_active("set1")


def test_a_member_who_went_as_the_room_moved_is_taken_out_by_its_new_set(redis_client: redis.Redis) -> None:
    for who in ("alice", "bob"):
        room_members.join("set1", 1, ELSE, who)
        be_silent(redis_client, who, room_members.GONE + 1, room=ELSE)
    room_members.join("set2", 1, ELSE, "bob")  # his gateway has followed the room
    chatroom_life.sweep_members("set1")
    assert room_members.are_members(1, ELSE, ["alice", "bob"]) == [True, True]
    assert room_members.gone("set1", 10) == []
    chatroom_life.sweep_members("set2")
    assert room_members.are_members(1, ELSE, ["alice", "bob"]) == [True, True], "she may be told of yet"
    be_silent(redis_client, "alice", room_members.GONE + 1, room=ELSE, server_set="set2")
    chatroom_life.sweep_members("set2")
    assert room_members.are_members(1, ELSE, ["alice", "bob"]) == [False, True]


def test_a_room_moves_with_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_moves, "SETTLE", 0)
    join("alice")
    say("alice", "said")
    ask("setKV", "alice", setting("k", "v"))
    chatrooms.restrict("set1", 1, ROOM, Kind.MUTED, ["mute"], log.now() + HOUR)
    cluster = Cluster.objects.get()
    number, destination = topology.slot("1", ROOM), ServerSet.objects.get(name="set2")
    begun = SlotMove.objects.create(
        cluster=cluster, number=number, source=ServerSet.objects.get(name="set1"), destination=destination
    )
    while slot_moves.step(begun.pk).step != SlotMove.Step.DONE:
        pass
    topology.topology.renew()
    assert send(message("alice")) == [ELSEWHERE]
    assert ask("setKV", "alice", setting("k", "x")).status == ELSEWHERE
    for method in ("chrmPull", "pullKV"):
        request = Request(1, "alice", method, ROOM, QUESTIONS[method].SerializeToString())
        answer = tasks._answer("set2", request)
        assert (answer.status, b"said" in answer.payload or b"v" in answer.payload) == (0, True)
    verdicts = chatroom.admit("set2", [message("mute", options=JOINED), message("alice")])
    assert verdicts[0] == Refused(23408)
    assert isinstance(verdicts[1], Entry)
    assert chatrooms.look_up("set1", [(1, ROOM, "alice")]) == [None]


# --- what the server API has done


def test_the_operations_of_the_server_api() -> None:
    def manage(*operation: Any, room: str = ROOM) -> Any:
        answer = ask("manageChrm", "", msgpack.packb(operation), room=room)
        assert not answer.status
        return msgpack.unpackb(answer.payload)

    assert manage("info") is None
    assert manage("members", 10, False) == [0, []]
    manage("create", "The room")
    manage("create", "Another name")
    assert manage("info")["name"] == "The room"
    join("alice")
    assert [name for name, _ in manage("members", 10, False)[1]] == ["alice"]
    assert manage("are_members", ["alice", "bob"]) == [True, False]
    assert manage("change", {"kept": True, "muted": True}) is True
    assert manage("named", "muted", room="") == manage("named", "kept", room="") == [ROOM]
    manage("restrict", Kind.MUTED, ["alice", "bob"], log.now() + HOUR)
    manage("release", Kind.MUTED, ["bob"])
    assert [name for name, _ in manage("restricted", Kind.MUTED)] == ["alice"]
    assert manage("set_entries", "alice", {"k": "v", "gone": None}, False) == {"gone": 23427}
    assert [entry[:3] for entry in manage("entries", None)] == [["k", "v", "alice"]]
    manage("block", ["alice"], log.now() + HOUR)
    assert manage("are_members", ["alice"]) == [False]
    manage("destroy")
    manage("destroy")
    assert manage("info") is None
    with pytest.raises(ValueError, match="cannot change"):
        chatrooms.change("set1", 1, ROOM, {"name": "x"})
