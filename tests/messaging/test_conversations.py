"""The list of a user's conversations: newest first, with the last message and what is unread."""

import itertools
import uuid
from typing import Any

import msgpack
import pytest

from apps.messaging import exchange, groups, log
from apps.messaging.log import Log
from apps.messaging.methods import group
from apps.messaging.models import RECALLED, Conversation, ConversationRead
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import SETS, entry, text, user, users

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))
GROUP = next(name for n in itertools.count() if topology.slot("1", name := f"g{n}") % 2 == 0)  # of set1


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def send(sender: str, target: str, content: str) -> str:
    sent = entry(sender, target, text(content.encode()))
    log.of(home(target)).append([sent], within=1)
    for name in SETS:
        exchange.run(name)
    return sent.uid


def in_group(sender: str, content: str, **facts: Any) -> None:
    up = im.UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=content.encode(), **facts)
    asked = Request(1, sender, "pgMsgP", GROUP, up.SerializeToString(), uuid.uuid4().hex)
    log.of("set1").append(group.admit("set1", [asked]), within=1)  # type: ignore[arg-type]
    exchange.run("set2")


def make_group(*members: str) -> None:
    payload = msgpack.packb([groups.JOIN, members, "name"])
    asked = Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)
    log.of("set1").append(group.change("set1", [asked]), within=1)  # type: ignore[arg-type]
    exchange.run("set2")


def listed(reader: str, **wanted: Any) -> im.RelationsOutput:
    return reply(im.RelationsOutput, reader, "qryRelationR", im.RelationQryInput(**{"count": 20} | wanted))


def told(reader: str, **wanted: Any) -> list[tuple[int, str, str]]:
    return [(each.type, each.userId, each.msg.content.decode()) for each in listed(reader, **wanted).info]


def test_the_newest_conversation_comes_first_with_its_last_message() -> None:
    make_group(ALICE, BOB, CAROL)
    send(ALICE, BOB, "ab")
    send(CAROL, ALICE, "ca")
    in_group(BOB, "bg")
    assert told(ALICE) == [(3, GROUP, "bg"), (1, CAROL, "ca"), (1, BOB, "ab")]
    send(BOB, ALICE, "ba")
    assert told(ALICE) == [(1, BOB, "ba"), (3, GROUP, "bg"), (1, CAROL, "ca")]
    assert told(BOB) == [(1, ALICE, "ba"), (3, GROUP, "bg")]
    v2 = reply(im.RelationsOutput, ALICE, "qryRelation", im.RelationsInput(type=1, count=2), generation=2)
    assert [each.userId for each in v2.info] == [BOB, GROUP]
    assert all(each.HasField("msg") for each in v2.info)


@pytest.mark.parametrize("order", [0, 1])
def test_pages_hold_every_conversation_once(order: int) -> None:
    peers = users("set1", 9)[2:]
    for peer in peers:
        send(peer, ALICE, peer)
    found: list[str] = []
    start = 0
    for _ in range(len(peers)):
        its = listed(ALICE, count=3, startTime=start, order=order)
        ascending = sorted(its.info, key=lambda each: each.msg.dataTime)
        found += [each.userId for each in (ascending if order else its.info)]
        if its.isFinished:
            break
        start = ascending[-1 if order else 0].msg.dataTime
    assert found == (peers if order else peers[::-1])


def test_unread_is_what_was_received_after_the_time_of_reading() -> None:
    for content in ("1", "2", "3"):
        send(BOB, ALICE, content)
    send(ALICE, BOB, "mine")
    assert [each.unreadCount for each in listed(ALICE).info] == [3]
    middle = reply(
        im.HistoryMsgOuput, ALICE, "qryPMsg", im.HistoryMsgInput(targetId=BOB, time=0, count=20, order=1)
    ).list[1]
    ConversationRead.objects.using("set1").create(
        tenant=1, user=ALICE, slot=topology.slot("1", ALICE), kind=1, target=BOB, time=middle.dataTime
    )
    (its,) = listed(ALICE).info
    assert (its.unreadCount, its.readMsgTime) == (1, middle.dataTime)


def test_a_removed_conversation_comes_back_with_the_next_message() -> None:
    make_group(ALICE, BOB)
    send(BOB, ALICE, "old")
    in_group(BOB, "old")
    assert len(told(ALICE)) == 2
    assert ask(ALICE, "delRelation", im.RelationsInput(type=1), target=BOB).status == 0
    sessions = im.DeleteSessionsInput(sessions=[im.SessionInfo(type=3, channelId=GROUP)])
    assert ask(ALICE, "delSessions", sessions).status == 0
    assert told(ALICE) == []
    assert len(told(BOB)) == 2
    send(BOB, ALICE, "new")
    in_group(BOB, "newer")
    assert told(ALICE) == [(3, GROUP, "newer"), (1, BOB, "new")]


def test_removing_some_removes_their_messages_when_it_is_wanted() -> None:
    send(BOB, ALICE, "old")
    relation = [im.RelationOpInput(conversationId=BOB, conversationType=1)]
    assert (
        ask(ALICE, "delRelationBatch", im.RelationDelBatchReq(relation=relation, cleanMsg=True)).status == 0
    )
    wanted = im.HistoryMsgInput(targetId=BOB, time=0, count=20, order=0)
    assert not reply(im.HistoryMsgOuput, ALICE, "qryPMsg", wanted).list
    assert told(ALICE) == []


def test_a_recalled_last_message_gives_way_to_the_one_before(logs: dict[str, Log]) -> None:
    send(BOB, ALICE, "stays")
    uid = send(BOB, ALICE, "a slip")
    assert told(ALICE) == [(1, BOB, "a slip")]
    sql = f"UPDATE messaging_message SET flags = flags | {RECALLED} WHERE uid = %s"
    logs["set1"].run(lambda connection: connection.execute(sql, (uid,)), within=1)
    assert told(ALICE) == [(1, BOB, "stays")]


def test_a_message_for_other_members_is_not_the_last_one() -> None:
    make_group(ALICE, BOB, CAROL)
    in_group(BOB, "for all")
    in_group(BOB, "for carol", toUserIds=[CAROL])
    assert told(ALICE) == [(3, GROUP, "for all")]
    assert told(CAROL) == [(3, GROUP, "for carol")]


def test_only_conversations_under_a_tag_are_listed_when_a_tag_is_asked_for() -> None:
    send(BOB, ALICE, "b")
    send(CAROL, ALICE, "c")
    tag = im.SessionTagAddInput(
        version=0, tags=[im.SessionTagItem(tagId="work", name="Work")], ignoreVersion=True
    )
    assert ask(ALICE, "addSeTag", tag).status == 0
    item = im.SessionStateItem(sessionStateType=3, value="1", tags=[im.SessionTagItem(tagId="work")])
    state = im.SessionState(type=1, channelId=CAROL, time=1, stateItem=[item])
    assert (
        ask(ALICE, "addTag", im.SessionStateModifyReq(version=1, state=[state], ignoreVersion=True)).status
        == 0
    )
    asked = im.RelationQryFilter(count=10, order=0)
    assert len(reply(im.RelationsOutput, ALICE, "qryRelationFilter", asked).info) == 2
    asked.tags.append("work")
    found = reply(im.RelationsOutput, ALICE, "qryRelationFilter", asked)
    assert [each.userId for each in found.info] == [CAROL]
    assert found.isFinished


def test_a_foreign_tenant_sees_nothing_of_it() -> None:
    send(BOB, ALICE, "b")
    answer = ask(ALICE, "qryRelationR", im.RelationQryInput(count=5), tenant=2, server_set="set1")
    assert not im.RelationsOutput.FromString(answer.payload).info


@pytest.mark.parametrize("method", ["qryRelation", "qryRelationR", "qryRelationFilter", "delSessions"])
def test_what_cannot_be_read_is_refused(method: str) -> None:
    assert ask(ALICE, method, MALFORMED_BYTES).status == AckStatus.MALFORMED
    assert ask(ALICE, "delSessions", im.DeleteSessionsInput()).status == AckStatus.MALFORMED
    assert not Conversation.objects.using("set1").filter(removed__gt=0).exists()
