"""A conversation, page by page in both directions, and what its user has removed of it."""

import itertools
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.messaging import exchange, log, slot_moves
from apps.messaging.log import Log
from apps.messaging.models import CleanMark, Conversation, ListCursor, RemovedMessage
from apps.routing import topology
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import SETS, away, entry, user
from tests.messaging.sending import group_of, join, leave, say
from tests.messaging.test_slot_moves import move

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def send(sender: str, target: str, **facts: Any) -> str:
    sent = entry(sender, target, **facts)
    log.of(home(target)).append([sent], within=1)
    exchange.run(home(sender))
    return sent.uid


def page(reader: str, peer: str, method: str = "qryPMsg", **wanted: Any) -> im.HistoryMsgOuput:
    fields: dict[str, Any] = {"targetId": peer, "time": 0, "count": 20, "order": 0} | wanted
    asked = im.HistoryMsgInput(**fields)
    return reply(im.HistoryMsgOuput, reader, method, asked)


def walk(reader: str, peer: str, method: str = "qryPMsg", **wanted: Any) -> list[str]:
    """All pages, each asked for with the time of the last message that the page before has shown."""
    found: list[str] = []
    time = 0
    while True:
        its = page(reader, peer, method, time=time, **wanted)
        found += [message.msgId for message in its.list]
        if not its.hasMsg:
            return found
        assert its.list, "the client has no time to go on from"
        assert its.syncTime == its.list[-1].dataTime
        time = its.syncTime


def uids(reader: str, peer: str, method: str = "qryPMsg") -> list[str]:
    return [message.msgId for message in page(reader, peer, method).list]


def remove(reader: str, peer: str, *which: str, kind: int = 1) -> int:
    asked = im.DeleteMsgInput(type=kind, conversationId=peer, msgs=[im.DeleteMsg(msgId=uid) for uid in which])
    return ask(reader, "delMsg", asked).status


def clean(reader: str, peer: str, upto: int, method: str = "cleanPMsg") -> int:
    return ask(reader, method, im.CleanHisMsgInput(targetId=peer, dataTime=upto)).status


@pytest.mark.parametrize("order", [0, 1])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 12), count=st.integers(1, 5), both=st.booleans())
def test_pages_hold_each_message_once_and_in_order(order: int, number: int, count: int, both: bool) -> None:
    peer = f"peer-{uuid.uuid4().hex}"
    here = home(peer)
    pairs = itertools.cycle([(ALICE, peer), (peer, ALICE)] if both else [(ALICE, peer)])
    sent = [send(*next(pairs)) for _ in range(number)]
    exchange.run(here)
    found: list[str] = []
    time = 0
    for _ in range(number + 2):
        its = page(ALICE, peer, time=time, count=count, order=order)
        assert len(its.list) <= count
        found += [message.msgId for message in its.list]
        if not its.hasMsg:
            break
        time = its.syncTime
    assert found == (sent if order else sent[::-1])


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_page_does_not_part_what_both_sides_have_sent_at_one_moment(
    logs: dict[str, Log], count: int, order: int
) -> None:
    sent: list[set[str]] = []
    for n in range(3):
        time = log.now() + 600_000 + 10 * n
        for each in logs.values():
            each.run(lambda c: c.execute("UPDATE messaging_head SET time = %s", (time,)), within=1)  # noqa: B023
        both = entry(ALICE, BOB), entry(BOB, ALICE)
        logs["set2"].append(both[:1], within=1)
        logs["set1"].append(both[1:], within=1)
        sent.append({each.uid for each in both})
    exchange.run("set1")
    times = logs["set1"].read("SELECT count(*), count(DISTINCT sent) FROM messaging_message", ())
    assert times == [(6, 3)]
    found = walk(ALICE, BOB, count=count, order=order)
    assert [set(found[n : n + 2]) for n in (0, 2, 4)] == (sent if order else sent[::-1])
    assert len(found) == 6


@pytest.mark.parametrize("order", [0, 1])
def test_what_is_for_other_members_leaves_no_page_empty(order: int) -> None:
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    first = say(BOB, group, "first", "pgMsgP")
    for _ in range(7):
        say(BOB, group, ALICE, "pgMsgP", toUserIds=[CAROL])
    last = say(BOB, group, "for two", "pgMsgP", toUserIds=[CAROL, ALICE])
    assert walk(ALICE, group, "qryGMsg", order=order, count=2) == ([first, last] if order else [last, first])
    assert len(walk(CAROL, group, "qryGMsg", order=order, count=2)) == 9
    assert len(walk(BOB, group, "qryGMsg", order=order, count=2)) == 9


names = st.sampled_from(["a", "ab", "\u00e9\U0001f600", "x" * 64])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(names, max_size=3), names, st.binary(max_size=40), st.integers(0, 1 << 31), st.booleans())
def test_the_database_finds_whom_a_message_names(
    logs: dict[str, Log], to: list[str], who: str, content: bytes, bits: int, cut: bool
) -> None:
    up = im.UpStreamMessage(sessionId=3, content=content + who.encode(), toUserIds=to, optionBits=bits)
    payload = up.SerializeToString()
    if cut:
        payload = payload[: payload.find(content) + 1]
    ((found,),) = logs["set1"].read("SELECT messaging_names(%s, %s)", (payload, who))
    assert found == (who in to and not cut)


def test_what_one_side_removes_stays_with_the_other() -> None:
    first, second = send(ALICE, BOB), send(BOB, ALICE)
    assert remove(ALICE, BOB, first, "unknown") == 0
    assert uids(ALICE, BOB) == [second]
    assert uids(BOB, ALICE) == [second, first]
    assert [row.uid for row in RemovedMessage.objects.using("set1")] == [first]


def test_nobody_removes_what_is_not_in_his_conversation() -> None:
    uid = send(ALICE, BOB)
    assert remove(CAROL, BOB, uid) == 0
    assert remove(ALICE, CAROL, uid) == 0
    assert ask(ALICE, "delMsg", im.DeleteMsgInput(conversationId=BOB)).status == AckStatus.MALFORMED
    assert ask(ALICE, "delMsg", MALFORMED_BYTES).status == AckStatus.MALFORMED
    assert not any(RemovedMessage.objects.using(name).exists() for name in SETS)


def test_a_cleaned_conversation_begins_after_its_mark() -> None:
    send(ALICE, BOB)
    middle = page(ALICE, BOB).list[0].dataTime
    last = send(BOB, ALICE)
    assert clean(ALICE, BOB, middle) == 0
    assert clean(ALICE, BOB, middle - 5) == 0  # it does not go back
    assert uids(ALICE, BOB) == [last]
    assert len(uids(BOB, ALICE)) == 2


def test_a_time_to_come_cannot_be_cleaned() -> None:
    assert clean(ALICE, BOB, log.now() + 3_600_000) == AckStatus.STORAGE_OFF
    asked = im.CleanMsgBatchReq(
        input=[
            im.CleanHisMsgInput(targetId=BOB, dataTime=1, conversationType=1),
            im.CleanHisMsgInput(targetId=CAROL, dataTime=log.now() + 3_600_000, conversationType=1),
        ]
    )
    assert ask(ALICE, "cleanMsgBatch", asked).status == AckStatus.STORAGE_OFF
    assert not CleanMark.objects.using("set1").exists()


def test_messages_are_found_by_uid_and_the_others_are_named() -> None:
    uid, other = send(ALICE, BOB), send(ALICE, CAROL)
    query = [im.MessageQueryInfo(msgTime=0, msgUID=each) for each in (uid, other, "unknown")]
    found = reply(im.MsgQueryAck, BOB, "qryMsg", im.MsgQuery(targetId=ALICE, type=1, query=query))
    assert [message.msgId for message in found.list] == [uid]
    assert list(found.notExistMsgId) == [other, "unknown"]
    stranger = ask(
        BOB, "qryMsg", im.MsgQuery(targetId=ALICE, type=1, query=query), tenant=2, server_set="set2"
    )
    assert not im.MsgQueryAck.FromString(stranger.payload).list


def test_what_is_removed_moves_with_its_user() -> None:
    assert {CleanMark, RemovedMessage, Conversation, ListCursor} <= set(slot_moves._others())


def test_what_is_removed_before_its_copy_has_come_does_not_come_with_it() -> None:
    sent = entry(ALICE, BOB)
    log.of("set2").append([sent], within=1)
    assert remove(ALICE, BOB, sent.uid) == 0
    exchange.run("set1")
    assert uids(ALICE, BOB) == []
    assert uids(BOB, ALICE) == [sent.uid]


def test_what_cannot_be_looked_for_now_is_not_said_to_be_removed() -> None:
    here, there = send(BOB, ALICE), entry(ALICE, BOB)
    log.of("set2").append([there], within=1)
    with away("set2"):
        assert remove(ALICE, BOB, here) == 0
        assert remove(ALICE, BOB, there.uid) == AckStatus.BUSY
    log.of("set2").close()
    assert remove(ALICE, BOB, there.uid) == 0
    assert uids(ALICE, BOB) == []


def test_removing_twice_is_removing_once() -> None:
    gone, stays = send(ALICE, BOB), send(BOB, ALICE)
    for _ in range(2):
        assert remove(ALICE, BOB, gone) == 0
        assert clean(ALICE, CAROL, 5) == 0
    assert uids(ALICE, BOB) == [stays]
    assert RemovedMessage.objects.using("set1").count() == CleanMark.objects.using("set1").count() == 1


@pytest.mark.usefixtures("redis_client")
def test_what_is_removed_stays_removed_wherever_the_users_slots_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_moves, "SETTLE", 0)
    cleaned, removed, kept = send(ALICE, BOB), send(BOB, ALICE), send(ALICE, BOB)
    assert clean(ALICE, BOB, page(ALICE, BOB).list[-1].dataTime) == 0
    assert remove(ALICE, BOB, removed) == 0
    for who, to in ((ALICE, "set2"), (BOB, "set1"), (ALICE, "set1")):
        move(who, to)
        for name in SETS:
            exchange.run(name)
        assert uids(ALICE, BOB) == [kept]
        assert uids(BOB, ALICE) == [kept, removed, cleaned]


def test_what_is_sent_after_a_removal_is_not_removed_by_it() -> None:
    """Though the client's clock is ahead of the server's."""
    send(BOB, ALICE)
    assert clean(ALICE, BOB, log.now() + 30_000) == 0
    assert uids(ALICE, BOB) == []
    new = [send(BOB, ALICE), send(ALICE, BOB)]
    assert uids(ALICE, BOB) == new[::-1]


@pytest.mark.parametrize(
    ("upto", "status", "left"),
    [(0, 0, 0), (-1, AckStatus.MALFORMED, 2), ((1 << 63) - 1, AckStatus.STORAGE_OFF, 2), (1, 0, 2)],
)
def test_times_at_the_ends_of_all_times(upto: int, status: int, left: int) -> None:
    """0 is all that there is, as the SDKs document it."""
    send(BOB, ALICE), send(ALICE, BOB)
    assert clean(ALICE, BOB, upto) == status
    assert len(uids(ALICE, BOB)) == left
    last = send(BOB, ALICE)
    assert uids(ALICE, BOB)[0] == last
    for time in (-1, -(1 << 63), (1 << 63) - 1):
        for order in (0, 1):
            its = page(ALICE, BOB, time=time, order=order)
            assert len(its.list) == (left + 1 if (time > 0) != bool(order) else 0)


def test_what_can_be_nobodys_id_is_refused() -> None:
    for peer in ("", "x" * 65, "a\0b"):
        for method in ("qryPMsg", "qryGMsg"):
            assert ask(ALICE, method, im.HistoryMsgInput(targetId=peer)).status == AckStatus.MALFORMED
        for method in ("cleanPMsg", "cleanGMsg"):
            assert clean(ALICE, peer, 1, method) == AckStatus.MALFORMED
        assert remove(ALICE, peer, "uid") == remove(ALICE, BOB, peer) == AckStatus.MALFORMED


def test_what_somebody_tells_himself_is_in_his_history_once_and_can_be_removed() -> None:
    first, second = send(ALICE, ALICE), send(ALICE, ALICE)
    assert walk(ALICE, ALICE, count=1) == [second, first]
    assert remove(ALICE, ALICE, first) == 0
    assert uids(ALICE, ALICE) == [second]


def test_another_tenants_user_of_the_same_name_removes_nothing() -> None:
    uid = send(ALICE, BOB)
    asked = im.DeleteMsgInput(type=1, conversationId=BOB, msgs=[im.DeleteMsg(msgId=uid)])
    assert ask(ALICE, "delMsg", asked, tenant=2).status == 0
    assert ask(ALICE, "cleanPMsg", im.CleanHisMsgInput(targetId=BOB, dataTime=0), tenant=2).status == 0
    assert uids(ALICE, BOB) == [uid]
    assert not any(RemovedMessage.objects.using(name).exists() for name in SETS)


@pytest.mark.parametrize("where", SETS)
@pytest.mark.parametrize("reader", [ALICE, BOB])
def test_a_member_reads_what_was_said_while_he_was_one(reader: str, where: str) -> None:
    group = group_of(where)
    join(group, CAROL)
    said: list[str] = []
    his: list[str] = []
    for _ in range(2):
        said.append(say(CAROL, group, "before", "pgMsgP"))
        join(group, reader)
        his += [say(CAROL, group, "to him", "pgMsgP"), say(reader, group, "by him", "pgMsgP")]
        leave(group, reader)
        said.append(say(CAROL, group, "after", "pgMsgP"))
    for order in (0, 1):
        assert walk(reader, group, "qryGMsg", count=1, order=order) == (his if order else his[::-1])
    assert remove(reader, group, his[0], said[0], kind=3) == 0
    assert uids(reader, group, "qryGMsg") == his[:0:-1]
    assert clean(reader, group, 0, "cleanGMsg") == 0
    assert uids(reader, group, "qryGMsg") == []
    assert len(uids(CAROL, group, "qryGMsg")) == 8
    stranger = user(topology.home(1, reader), but=reader)
    assert stranger == CAROL or uids(stranger, group, "qryGMsg") == []
