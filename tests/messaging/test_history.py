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
from tests.messaging.conftest import SETS, entry, user

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


def page(reader: str, peer: str, **wanted: Any) -> im.HistoryMsgOuput:
    fields: dict[str, Any] = {"targetId": peer, "time": 0, "count": 20, "order": 0} | wanted
    asked = im.HistoryMsgInput(**fields)
    return reply(im.HistoryMsgOuput, reader, "qryPMsg", asked)


def uids(reader: str, peer: str) -> list[str]:
    return [message.msgId for message in page(reader, peer).list]


def remove(reader: str, peer: str, *which: str, kind: int = 1) -> int:
    asked = im.DeleteMsgInput(type=kind, conversationId=peer, msgs=[im.DeleteMsg(msgId=uid) for uid in which])
    return ask(reader, "delMsg", asked).status


def clean(reader: str, peer: str, upto: int) -> int:
    asked = im.CleanHisMsgInput(targetId=peer, dataTime=upto, conversationType=1)
    return ask(reader, "cleanPMsg", asked).status


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
