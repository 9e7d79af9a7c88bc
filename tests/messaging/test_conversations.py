"""The list of a user's conversations: newest first, with the last message and what is unread."""

import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from apps.messaging import exchange, groups, log, slot_moves, tenant_rules
from apps.messaging.log import Log
from apps.messaging.methods import conversations, group
from apps.messaging.models import RECALLED, Conversation, ConversationRead, ListCursor
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import SETS, entry, text, user, users
from tests.messaging.sending import join, leave, say, up
from tests.messaging.sending import send as put
from tests.messaging.test_slot_moves import move

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


def test_messages_for_other_members_are_neither_the_last_one_nor_unread() -> None:
    make_group(ALICE, BOB, CAROL)
    in_group(BOB, "for all")
    for _ in range(7):
        in_group(BOB, ALICE, toUserIds=[CAROL])
    assert told(ALICE) == [(3, GROUP, "for all")]
    assert [each.unreadCount for each in listed(ALICE).info] == [1]
    assert [each.unreadCount for each in listed(CAROL).info] == [8]


def walk(reader: str, count: int) -> list[str]:
    """All conversations, each page asked for with the time of the last one that was shown."""
    found: list[str] = []
    start = 0
    while True:
        its = listed(reader, count=count, startTime=start)
        found += [each.userId for each in its.info]
        if its.isFinished:
            return found
        start = its.info[-1].msg.dataTime


@pytest.mark.parametrize("how", ["recalled", "removed", "cleaned"])
def test_a_conversation_whose_last_message_is_gone_is_in_its_place(logs: dict[str, Log], how: str) -> None:
    peers = users("set1", 7)[2:]
    for peer in peers:
        send(peer, ALICE, peer)
    slip = send(peers[0], ALICE, "a slip")
    assert walk(ALICE, 2) == [peers[0], *peers[:0:-1]]
    if how == "recalled":
        sql = f"UPDATE messaging_message SET flags = flags | {RECALLED} WHERE uid = %s"
        logs["set1"].run(lambda connection: connection.execute(sql, (slip,)), within=1)
    elif how == "removed":
        asked = im.DeleteMsgInput(type=1, conversationId=peers[0], msgs=[im.DeleteMsg(msgId=slip)])
        assert ask(ALICE, "delMsg", asked).status == 0
    else:
        assert ask(ALICE, "cleanPMsg", im.CleanHisMsgInput(targetId=peers[0], dataTime=0)).status == 0
        peers = peers[1:]
    for count in (1, 2, 3):
        assert walk(ALICE, count) == peers[::-1]
    newest = reply(im.RelationsOutput, ALICE, "qryRelation", im.RelationsInput(type=1, count=2), generation=2)
    assert [each.userId for each in newest.info] == peers[:-3:-1]
    wanted = im.RelationQryFilter(count=2)
    pages: list[str] = []
    while not pages or wanted.pageToken:
        its = reply(im.RelationsOutput, ALICE, "qryRelationFilter", wanted)
        pages += [each.userId for each in its.info]
        wanted.pageToken = its.pageToken
    assert pages == peers[::-1]
    assert told(ALICE, order=1) == told(ALICE)


def test_a_page_does_not_part_conversations_of_one_moment(logs: dict[str, Log]) -> None:
    time = log.now() + 9_000
    for each in logs.values():
        each.run(lambda c: c.execute("UPDATE messaging_head SET time = %s", (time,)), within=1)
    logs["set2"].append([entry(ALICE, BOB)], within=1)
    logs["set1"].append([entry(CAROL, ALICE)], within=1)
    exchange.run("set1")
    for count in (1, 2):
        assert sorted(walk(ALICE, count)) == sorted([BOB, CAROL])
    assert len({each.msg.dataTime for each in listed(ALICE).info}) == 1


def test_a_removed_conversation_does_not_come_back_with_a_copy_that_comes_late() -> None:
    send(ALICE, BOB, "old")
    on_its_way = entry(ALICE, BOB)
    log.of("set2").append([on_its_way], within=1)
    assert ask(ALICE, "delRelation", im.RelationsInput(type=1), target=BOB).status == 0
    assert told(ALICE) == []
    send(ALICE, BOB, "new")
    assert told(ALICE) == [(1, BOB, "new")]


def test_a_conversation_comes_back_with_a_message_of_another_set_whose_time_is_behind(
    logs: dict[str, Log],
) -> None:
    """The time of the user's own SET is ahead of the clock."""
    send(BOB, ALICE, "old")
    ahead = "UPDATE messaging_head SET time = time + 30000"
    logs["set1"].run(lambda connection: connection.execute(ahead), within=1)
    assert ask(ALICE, "delRelation", im.RelationsInput(type=1), target=BOB).status == 0
    send(ALICE, BOB, "new")
    assert told(ALICE) == [(1, BOB, "new")]


def test_a_list_that_is_removed_with_its_messages_has_nothing_left(logs: dict[str, Log]) -> None:
    """Though they have times ahead of the clock."""
    ahead = "UPDATE messaging_head SET time = time + 30000"
    send(BOB, ALICE, "first")
    logs["set1"].run(lambda connection: connection.execute(ahead), within=1)
    send(BOB, ALICE, "second")
    relation = [im.RelationOpInput(conversationId=BOB, conversationType=1)]
    asked = im.RelationDelBatchReq(relation=relation * 2, cleanMsg=True)
    for _ in range(2):
        assert ask(ALICE, "delRelationBatch", asked).status == 0
    assert told(ALICE) == []
    wanted = im.HistoryMsgInput(targetId=BOB, time=0, count=20, order=0)
    assert not reply(im.HistoryMsgOuput, ALICE, "qryPMsg", wanted).list
    assert told(BOB) == [(1, ALICE, "second")]


def test_what_is_not_counted_is_not_unread_nor_is_what_is_in_no_history() -> None:
    for bits in (1, 3, 3, 0, 2):
        log.of("set1").append([replace(entry(BOB, ALICE), flags=bits)], within=1)
    log.of("set1").append([entry(ALICE, ALICE)], within=1)
    assert [(each.userId, each.unreadCount) for each in listed(ALICE).info] == [(ALICE, 0), (BOB, 2)]


def test_reading_on_another_device_makes_nothing_unread_whichever_way_it_is_told() -> None:
    make_group(ALICE, BOB)
    for content in ("1", "2"):
        send(BOB, ALICE, content)
        in_group(BOB, content)
    its = {each.userId: each.msg.dataTime for each in listed(ALICE).info}
    assert {each.unreadCount for each in listed(ALICE).info} == {2}
    told_so = im.SessionMsgReadInput(type=1, msgTime=its[BOB], channelId=BOB)
    assert put(ALICE, "updRTime", ALICE, told_so.SerializeToString()).status == 0
    synced = up({"lastMessageSendTime": its[GROUP] + 9_000_000}, "RC:SRSMsg", 0)
    assert put(ALICE, "pgMsgP", GROUP, synced).status == 0
    assert {each.unreadCount for each in listed(ALICE).info} == {0}
    send(BOB, ALICE, "3")
    in_group(BOB, "3")
    assert {each.unreadCount for each in listed(ALICE).info} == {1}
    assert {each.unreadCount for each in listed(BOB).info} == {0}


def test_who_has_left_a_group_has_its_last_message_for_him_in_his_list() -> None:
    make_group(ALICE, BOB, CAROL)
    in_group(BOB, "with her")
    leave(GROUP, CAROL)
    in_group(BOB, "without her")
    assert told(CAROL) == [(3, GROUP, "with her")]
    join(GROUP, CAROL)
    assert told(CAROL) == [(3, GROUP, "with her")]
    in_group(BOB, "with her again")
    assert [(each.msg.content, each.unreadCount) for each in listed(CAROL).info] == [(b"with her again", 2)]


def test_lists_that_are_asked_for_at_one_moment_are_the_same() -> None:
    peers = users("set1", 7)[2:]
    for peer in peers:
        send(peer, ALICE, peer)

    def ask_once(_: int) -> list[tuple[int, str, str]]:
        try:
            return told(ALICE)
        finally:
            for name in SETS:
                log.of(name).close()

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(ask_once, range(12)))
    assert found == [[(1, peer, peer) for peer in peers[::-1]]] * 12
    assert Conversation.objects.using("set1").filter(user=ALICE).count() == len(peers)


@pytest.mark.usefixtures("redis_client")
def test_a_list_goes_with_its_user_to_another_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_moves, "SETTLE", 0)
    send(BOB, ALICE, "b")
    send(CAROL, ALICE, "c")
    assert ask(ALICE, "delRelation", im.RelationsInput(type=1), target=CAROL).status == 0
    assert told(ALICE) == [(1, BOB, "b")]
    for to in ("set2", "set1"):
        move(ALICE, to)
        for name in SETS:
            exchange.run(name)
        assert told(ALICE) == [(1, BOB, "b")]
        log.of(to).append([entry(BOB, ALICE, text(b"b"))], within=1)
        assert [each.unreadCount for each in listed(ALICE).info] == [2 if to == "set2" else 3]


@pytest.mark.parametrize("order", [0, 1])
def test_a_list_that_has_read_a_part_of_the_log_shows_what_it_must(
    monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    peers = users("set1", 9)[2:]
    for number in range(3):
        for peer in peers[number:]:
            send(*((peer, ALICE) if number % 2 else (ALICE, peer)), str(number))
    monkeypatch.setattr(conversations, "READ_AT_ONCE", 3)
    expected = [*peers[2:][::-1], peers[1], peers[0]]
    assert told(ALICE, count=2) == [(1, peer, "2") for peer in expected[:2]]
    low = ListCursor.objects.using("set1").get(user=ALICE).low
    assert low > 0
    for peer in peers[:2]:
        send(peer, ALICE, "newest")  # what has come is more than is read at once
    for peer in peers[5:]:
        send(ALICE, peer, "newest")
    expected = [*peers[5:][::-1], peers[1], peers[0], *peers[2:5][::-1]]
    if order:
        start = listed(ALICE, count=1, startTime=0, order=1).info[0].msg.dataTime
        assert told(ALICE, count=20, startTime=start - 1, order=1) == told(ALICE, count=20)
        assert listed(ALICE, count=1, startTime=0, order=1).info[0].userId == expected[-1]
    assert told(ALICE, count=1) == [(1, expected[0], "newest")]
    assert walk(ALICE, 2) == expected
    assert ListCursor.objects.using("set1").get(user=ALICE).low == 0
    assert walk(ALICE, 3) == expected


@pytest.mark.usefixtures("redis_client")
def test_what_is_recalled_is_neither_the_last_message_nor_unread_for_either_side() -> None:
    tenant_rules.rules.renew()
    make_group(ALICE, BOB)
    for peer, kind in ((BOB, 1), (GROUP, 3)):
        method = "ppMsgP" if kind == 1 else "pgMsgP"
        say(ALICE, peer, "stays", method)
        slip = say(ALICE, peer, "slip", method)
        assert len(listed(BOB).info) == kind // 3 + 1
        content = {"conversationType": kind, "targetId": peer, "messageUId": slip, "sentTime": 1}
        assert put(ALICE, "recallMsg", ALICE, up(content, "RC:RcCmd", 1)).status == 0
    for reader in (ALICE, BOB):
        its = listed(reader).info
        assert [each.msg.content for each in its] == [b'"stays"'] * 2
        assert [each.unreadCount for each in its] == [0 if reader == ALICE else 1] * 2


def test_a_discussion_is_listed_like_a_group() -> None:
    made = reply(
        im.CreateDiscussionOutput, ALICE, "crDiz", im.CreateDiscussionInput(name="Lunch"), generation=2
    ).id
    invited = im.ChannelInvitationInput(users=[BOB])
    home_of = topology.topology.current.home(1, made)
    assert ask(ALICE, "invtDiz", invited, target=made, generation=2, server_set=home_of).status == 0
    for name in SETS:
        exchange.run(name)
    for content in ("first", "second"):
        say(BOB, made, content, "pdMsgP")
    its = listed(ALICE).info
    assert [(each.type, each.userId, each.unreadCount) for each in its] == [(2, made, 2)]
    assert ask(ALICE, "delRelation", im.RelationsInput(type=2), target=made).status == 0
    assert told(ALICE) == []
    say(ALICE, made, "third", "pdMsgP")
    assert [(each.userId, each.unreadCount) for each in listed(ALICE).info] == [(made, 0)]
    assert ask(ALICE, "cleanDMsg", im.CleanHisMsgInput(targetId=made, dataTime=0)).status == 0
    assert told(ALICE) == []
    assert len(told(BOB)) == 1


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
