"""What users have read: receipts that are messages, a group's readers, what one's devices tell each other."""

import json
from typing import Any

import msgpack
import pytest
import redis

from apps.messaging import groups, log, slot_moves
from apps.messaging.log import Log
from apps.messaging.models import ConversationRead, GroupRead, GroupRule
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import SETS, user, users
from tests.messaging.sending import (
    Sent,
    boxes,
    exchanged,
    group_of,
    history,
    join,
    say,
    send,
    stored,
    uids,
    up,
)
from tests.messaging.test_slot_moves import move

ALICE, CAROL, MALLORY = users("set1", 3)
BOB = user("set2")


@pytest.fixture(autouse=True)
def ready(sets: dict[str, Log], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_moves, "SETTLE", 0)


def block(owner: str, blocked: str) -> None:
    home, number = topology.home(1, owner), topology.slot("1", owner)
    sql = "INSERT INTO accounts_blockentry (tenant_id, owner, slot, blocked) VALUES (1, %s, %s, %s)"
    log.of(home).run(lambda c: c.execute(sql, (owner, number, blocked)), within=1)


# --- receipts that are messages


def test_a_private_receipt_is_delivered_and_pulled_later_and_is_in_no_history() -> None:
    uid = say(ALICE, BOB)
    receipt = {"lastMessageSendTime": 1, "messageUId": uid, "type": 1}
    sent = send(BOB, "ppMsgP", ALICE, up(receipt, "RC:ReadNtf", 0))
    assert sent.status == 0 and sent.rows[0].to == (ALICE,)
    exchanged()
    assert json.loads(boxes(ALICE)[-1].content) == receipt
    assert [each.msgId for each in history(ALICE, BOB)] == [uid]
    assert [each.msgId for each in history(BOB, ALICE)] == [uid]


def test_a_group_is_asked_for_receipts_and_only_the_sender_gets_them() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    uid = say(ALICE, group, method="pgMsgP")
    asked = send(ALICE, "pgMsgP", group, up({"messageUId": uid}, "RC:RRReqMsg", 0))
    body = {"receiptMessageDic": {ALICE: [uid]}}
    answered = send(BOB, "pgMsgP", group, up(body, "RC:RRRspMsg", 0, toUserIds=[ALICE]))
    assert (asked.status, answered.status) == (0, 0)
    assert answered.rows[0].to == (ALICE,)
    exchanged()
    assert uids(CAROL) == [uid, asked.uid]
    assert uids(ALICE) == [uid, asked.uid, answered.uid]
    assert [each.msgId for each in history(CAROL, group, "qryGMsg")] == [uid]
    stranger = send(MALLORY, "pgMsgP", group, up(body, "RC:RRRspMsg", 0, toUserIds=[ALICE]))
    assert stranger.status == AckStatus.NOT_IN_GROUP


@pytest.mark.parametrize("classname", ["RC:TypSts", "RC:RL", "RC:InterceptMsg", "X:Any"])
def test_a_status_message_is_shown_to_who_is_online_and_never_stored(classname: str) -> None:
    group = group_of("set1")
    join(group, ALICE, BOB)
    before = stored()
    of_class = classname != "X:Any"
    for target, methods in ((BOB, ("ppMsgP", "ppMsgS")), (group, ("pgMsgP", "pgMsgS"))):
        for method in methods if of_class else methods[1:]:
            sent = send(ALICE, method, target, up({"typingContentType": "RC:TxtMsg"}, classname))
            assert sent.status == 0
            assert [(row.seq, row.to, row.sync) for row in sent.rows] == [
                (0, (BOB,) if target == BOB else (), False)
            ]
    exchanged()
    assert stored() == before
    assert boxes(BOB) == []


# --- a group's readers


def mark(who: str, group: str, *uids: Any, **how: Any) -> int:
    return ask(
        who, "rrMsg", im.GrpReadReceiptMsg(msgId=uids), target=group, server_set=home(group), **how
    ).status


def home(group: str) -> str:
    return topology.home(1, group)


def readers(who: str, group: str, *uids: str) -> tuple[int, list[str]]:
    wanted = im.GrpReadReceiptQryReq(msgId=uids)
    how = {"target": group, "server_set": home(group)}
    found = reply(im.GrpReadReceiptQryResp, who, "rrList", wanted, **how)
    assert all(abs(each.readTime - log.now()) < 60_000 for each in found.list)
    return found.totalMemberNum, [each.userId for each in found.list]


def test_members_say_what_they_have_read_and_the_sender_reads_who_has() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    first, second = say(ALICE, group, method="pgMsgP"), say(ALICE, group, method="pgMsgP")
    exchanged()
    assert readers(ALICE, group, first) == (3, [])
    assert mark(BOB, group, first, second, "of another time") == 0
    assert mark(BOB, group, first) == mark(ALICE, group, first) == 0  # again; of one's own
    assert mark(CAROL, group, second) == 0
    assert readers(ALICE, group, first) == (3, [BOB])
    assert readers(ALICE, group, second) == (3, [BOB, CAROL])
    assert GroupRead.objects.using("set1").count() == 3


def test_who_is_not_in_the_group_neither_says_nor_learns_anything() -> None:
    group, other = group_of("set1"), group_of("set2")
    join(group, ALICE, BOB)
    join(other, ALICE, MALLORY)
    uid, elsewhere = (say(ALICE, each, method="pgMsgP") for each in (group, other))
    private = say(ALICE, BOB)
    exchanged()
    before = stored()
    how: dict[str, Any] = {"target": group, "server_set": "set1"}
    assert mark(MALLORY, group, uid) == AckStatus.NOT_IN_GROUP
    assert mark(BOB, group, uid, tenant=2) == AckStatus.NOT_IN_GROUP
    listed = ask(MALLORY, "rrList", im.GrpReadReceiptQryReq(msgId=[uid]), **how)
    assert (listed.status, listed.payload) == (AckStatus.NOT_IN_GROUP, b"")
    for unknown in ("no such", elsewhere, private):
        assert mark(BOB, group, unknown) == AckStatus.EXPANSION_NOT_FOUND
        assert ask(BOB, "rrList", im.GrpReadReceiptQryReq(msgId=[unknown]), **how).status == 22201
    assert stored() == before


@pytest.mark.parametrize("method", ["rrMsg", "rrList"])
@pytest.mark.parametrize(
    "body",
    [
        MALFORMED_BYTES,
        b"",
        im.GrpReadReceiptMsg(msgId=[""]),
        im.GrpReadReceiptMsg(msgId=["\0"]),
        im.GrpReadReceiptMsg(msgId=["u" * 65]),
        im.GrpReadReceiptMsg(msgId=[f"u{n}" for n in range(101)]),
    ],
)
def test_a_receipt_that_cannot_be_read_is_refused(method: str, body: Any) -> None:
    join(group_of("set1"), ALICE)
    answer = ask(ALICE, method, body, target=group_of("set1"), server_set="set1")
    assert answer.status == AckStatus.MALFORMED


def test_a_groups_readers_go_with_its_slot() -> None:
    group = group_of("set1")
    join(group, ALICE, CAROL)
    uid = say(ALICE, group, method="pgMsgP")
    assert mark(CAROL, group, uid) == 0
    move(group, "set2")
    assert readers(ALICE, group, uid) == (2, [CAROL])
    assert mark(ALICE, group, uid) == 0
    assert [GroupRead.objects.using(name).count() for name in SETS] == [0, 1]
    late = ask(CAROL, "rrMsg", im.GrpReadReceiptMsg(msgId=[uid]), target=group, server_set="set1")
    assert late.status != 0


# --- a user's own devices


def tell(who: str, kind: int, target: str, at: int, method: str = "updRTime", **facts: Any) -> Sent:
    said = im.SessionMsgReadInput(type=kind, msgTime=at, channelId=target)  # type: ignore[arg-type]
    return send(who, method, who, said.SerializeToString(), **facts)


def read_times(server_set: str) -> list[tuple[str, int, str, int]]:
    found = ConversationRead.objects.using(server_set).order_by("user", "kind", "target")
    return list(found.values_list("user", "kind", "target", "time"))


@pytest.mark.parametrize("method", ["updRTime", "updRRTime"])
def test_a_time_of_reading_is_kept_never_goes_back_and_is_shown_to_the_other_devices(method: str) -> None:
    for at, kept in ((100, 100), (50, 100), (200, 200)):
        sent = tell(BOB, 1, ALICE, at, method)
        assert sent.status == 0
        (row,) = sent.rows
        assert (row.method, row.target, row.to, row.sync) == (method, BOB, (), True)
        assert read_times("set2") == [(BOB, 1, ALICE, kept)]
    tell(BOB, 3, "g1", 7, method)
    assert read_times("set2") == [(BOB, 1, ALICE, 200), (BOB, 3, "g1", 7)]
    exchanged()
    assert read_times("set1") == []
    assert boxes(BOB) == []


def test_nobody_has_read_what_is_later_than_the_log() -> None:
    tell(BOB, 1, ALICE, 1 << 60)
    ((_, _, _, at),) = read_times("set2")
    assert abs(at - log.now()) < 60_000


def said(**fields: Any) -> bytes:
    whole: dict[str, Any] = {"type": 1, "msgTime": 5, "channelId": "c"} | fields
    return im.SessionMsgReadInput(**whole).SerializeToString()


@pytest.mark.parametrize(
    "payload",
    [
        MALFORMED_BYTES,
        b"",
        im.SessionMsgReadInput(type=1, msgTime=5).SerializeToString(),  # type: ignore[arg-type]
        im.SessionMsgReadInput(msgTime=5, channelId="c").SerializeToString(),
        said(msgTime=0),
        said(msgTime=-1),
        said(channelId=""),
        said(channelId="c" * 65),
        said(channelId="\0"),
        said(busChannel="b" * 2000),
        said() + b"\x1a\x01\xff",
    ],
)
def test_a_time_of_reading_that_cannot_be_read_is_refused(payload: bytes) -> None:
    assert send(BOB, "updRTime", BOB, payload).status == AckStatus.MALFORMED
    assert stored() == 0


def sync(who: str, target: str, at: Any, method: str = "ppMsgP", **facts: Any) -> Sent:
    return send(who, method, target, up({"lastMessageSendTime": at}, "RC:SRSMsg", 0, **facts))


@pytest.mark.parametrize("peer", [BOB, CAROL], ids=["of another SET", "of the same SET"])
def test_what_a_device_tells_the_others_in_a_private_chat_the_peer_does_not_see(peer: str) -> None:
    block(peer, ALICE)
    sent = sync(ALICE, peer, 100)
    assert sent.status == 0
    assert [row.to for row in sent.rows] == [()]
    exchanged()
    assert uids(peer) == []
    assert uids(ALICE) == [sent.uid]
    assert read_times("set1") == [(ALICE, 1, peer, 100)]
    assert read_times("set2") == []


@pytest.mark.parametrize("to", [[], [BOB]], ids=["to all", "to himself"])
def test_what_a_device_tells_the_others_in_a_group_no_member_sees(to: list[str]) -> None:
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    number = topology.slot("1", group)
    muted = {"tenant": 1, "group": group, "slot": number, "kind": GroupRule.Kind.MUTED, "until": 1 << 50}
    GroupRule.objects.using("set1").create(user=BOB, **muted)
    sent = sync(BOB, group, 100, "pgMsgP", toUserIds=to)
    assert sent.status == 0
    assert [row.to for row in sent.rows] == [(BOB,)]
    exchanged()
    assert (uids(ALICE), uids(CAROL), uids(BOB)) == ([], [], [sent.uid])
    assert read_times("set2") == [(BOB, 3, group, 100)]
    assert sync(MALLORY, group, 100, "pgMsgP").status == AckStatus.NOT_IN_GROUP
    assert say_muted(group) == AckStatus.GROUP_MUTED


def say_muted(group: str) -> int:
    return send(BOB, "pgMsgP", group, up()).status


@pytest.mark.parametrize(
    "content", [b"", b"[", [], {}, {"lastMessageSendTime": "5"}, {"lastMessageSendTime": 0}]
)
def test_a_message_about_reading_that_cannot_be_read_is_refused(content: Any) -> None:
    assert send(ALICE, "ppMsgP", BOB, up(content, "RC:SRSMsg", 0)).status == AckStatus.MALFORMED
    assert stored() == 0


def test_times_of_reading_go_with_their_user() -> None:
    tell(ALICE, 1, BOB, 100)
    sync(ALICE, BOB, 200)  # lies in another SET's log
    move(ALICE, "set2")
    exchanged()
    assert read_times("set1") == []
    assert read_times("set2") == [(ALICE, 1, BOB, 200)]
    tell(ALICE, 1, BOB, 300)
    assert read_times("set2") == [(ALICE, 1, BOB, 300)]


def test_who_was_dismissed_says_nothing_any_more() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB)
    uid = say(ALICE, group, method="pgMsgP")
    gone = msgpack.packb([groups.QUIT, [BOB], ""])
    send("", "grpChange", group, gone, options=FROM_SERVER)
    assert mark(BOB, group, uid) == AckStatus.NOT_IN_GROUP
