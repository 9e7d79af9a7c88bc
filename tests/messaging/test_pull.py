"""Pulls against a real log: pages by count and by size, and a client that lies about what it has."""

import uuid
from typing import Any

import msgpack
import pytest

from apps.messaging import log
from apps.messaging.log import Entry, Log
from apps.messaging.methods.gateways import read_feed
from apps.messaging.methods.history import history
from apps.messaging.methods.pull import PAGE_BYTES, PULL_PAGE, pull
from apps.messaging.models import PRIVATE
from apps.routing.envelope import Answer, Hint, Request
from apps.routing.protocol.im_pb2 import (
    DownStreamMessages,
    HistoryMsgInput,
    HistoryMsgOuput,
    SyncRequestMsg,
    UpStreamMessage,
)
from tests.messaging.conftest import entry, user

ALICE = user("set1")
BOB = user("set1", but=ALICE)


@pytest.fixture(autouse=True)
def own_log(sets: dict[str, Log]) -> Log:
    return sets["set1"]


def store(sender: str, target: str, count: int, size: int = 10) -> None:
    up = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b"x" * size).SerializeToString()
    entries = [Entry(uuid.uuid4().hex, 1, PRIVATE, sender, target, 3, "ppMsgP", up, 0) for _ in range(count)]
    log.of("set1").append(entries, within=1)


def ask(asker: str, shown: int = 0, **wanted: Any) -> tuple[Answer, DownStreamMessages]:
    message = SyncRequestMsg(ispolling=False, isPullSend=True, **wanted)
    request = Request(1, asker, "pullMsg", asker, message.SerializeToString(), generation=4, shown=shown)
    answer = pull("set1", request)
    return answer, DownStreamMessages.FromString(answer.payload)


def test_pages_hold_everything_once_in_order_of_both_boxes() -> None:
    store(ALICE, BOB, PULL_PAGE)
    store(BOB, ALICE, PULL_PAGE // 2)
    times: list[int] = []
    inbox = sendbox = 0
    while True:
        _, reply = ask(BOB, syncTime=inbox, sendBoxSyncTime=sendbox)
        times += [message.dataTime for message in reply.list]
        inbox = reply.syncTime
        sendbox = max([sendbox, *(m.dataTime for m in reply.list if m.direction == 1)])
        if reply.finished:
            break
    assert len(times) == PULL_PAGE * 3 // 2
    assert times == sorted(set(times))


def test_a_page_of_large_messages_ends_early_and_the_next_ones_bring_the_rest() -> None:
    size = PAGE_BYTES // 10
    store(ALICE, BOB, 25, size)
    answer, first = ask(BOB, syncTime=0)
    assert not first.finished and not answer.finished
    assert len(first.list) == 10
    _, second = ask(BOB, syncTime=first.syncTime)
    _, third = ask(BOB, syncTime=second.syncTime)
    assert third.finished
    assert len(first.list) + len(second.list) + len(third.list) == 25


def test_a_copy_that_comes_after_a_later_message_is_pulled_once_by_who_was_not_shown_it(own_log: Log) -> None:
    """Its time is before the device's cursor of sent messages: what the connection was shown tells."""
    (later,) = own_log.append([entry(ALICE, BOB)], within=1).rows
    copy = entry(ALICE, user("set2"), copy=True, sent=later.time - 1)
    (late,) = own_log.append([copy], within=1).rows
    asked = {"syncTime": later.time, "sendBoxSyncTime": later.time}
    answer, reply = ask(ALICE, shown=later.time, **asked)
    assert [(m.msgId, m.dataTime) for m in reply.list] == [(copy.uid, copy.sent)]
    assert answer.newest == late.time
    _, again = ask(ALICE, shown=answer.newest, **asked)
    assert not again.list
    _, first = ask(ALICE, **asked)  # of a connection of which nobody knows what it was shown
    assert not first.list


@pytest.mark.parametrize("late", range(0, PULL_PAGE * 2, 77))
def test_pages_with_copies_that_came_late_hold_each_message_once(own_log: Log, late: int) -> None:
    """Wherever they stand among the others, and whatever the cursor of sent messages is by then."""
    store(ALICE, BOB, PULL_PAGE)
    (earliest,) = own_log.append([entry(ALICE, BOB)], within=1).rows
    store(ALICE, BOB, late)
    copies = [entry(ALICE, user("set2"), copy=True, sent=earliest.time - n) for n in range(3)]
    own_log.append(copies, within=1)
    store(ALICE, BOB, PULL_PAGE)
    found: list[str] = []
    inbox = sendbox = shown = 0
    while True:
        answer, reply = ask(ALICE, shown=shown, syncTime=inbox, sendBoxSyncTime=sendbox)
        found += [message.msgId for message in reply.list]
        inbox, shown = reply.syncTime, max(shown, answer.newest)
        sendbox = max([sendbox, *(message.dataTime for message in reply.list)])
        if reply.finished:
            break
    assert len(found) == len(set(found)) == PULL_PAGE * 2 + 1 + late + len(copies)


def test_a_client_that_claims_the_future_does_not_move_the_log_there(own_log: Log) -> None:
    answer, reply = ask(ALICE, syncTime=1 << 53)
    assert answer.newest == 0
    assert reply.syncTime == 1 << 53
    far = Entry(uuid.uuid4().hex, 1, PRIVATE, ALICE, BOB, 3, "ppMsgP", b"", seen=1 << 53)
    (row,) = own_log.append([far], within=1).rows
    assert row.time < 1 << 43


def test_history_says_that_there_is_more_when_a_page_was_cut_by_size() -> None:
    store(ALICE, BOB, 15, PAGE_BYTES // 10)
    wanted = HistoryMsgInput(targetId=ALICE, time=0, count=20, order=0).SerializeToString()
    reply = HistoryMsgOuput.FromString(history("set1", Request(1, BOB, "qryPMsg", BOB, wanted)).payload)
    assert len(reply.list) == 10
    assert reply.hasMsg == 1


def test_the_feed_of_large_messages_comes_in_pieces_without_a_gap(own_log: Log) -> None:
    store(ALICE, BOB, 25, PAGE_BYTES // 10)
    after, seqs = 0, []
    for _ in range(10):
        answer = read_feed("set1", Request(0, "", "readFeed", "set1", msgpack.packb(after)))
        hint = Hint.unpack(answer.payload)
        assert hint.before == after
        seqs += [each.seq for each in hint.rows]
        after = hint.upto
        if after == answer.position:
            break
    assert len(seqs) == 25
    assert seqs == list(range(seqs[0], seqs[0] + 25))
