"""Messages that are taken back: gone from all that anybody reads, in every SET, and only by who may."""

import json
from typing import Any

import msgpack
import pytest
import redis
from django.utils import timezone

from apps.messaging import changes, chatrooms, exchange, log, slot_moves, tenant_rules
from apps.messaging.changes import KEPT
from apps.messaging.log import Log
from apps.messaging.methods.gateways import read_feed
from apps.messaging.models import RECALLED, EarlyChange
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, JOINED, Hint, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask
from tests.messaging.conftest import SETS, away, user, users
from tests.messaging.sending import (
    CHATROOM,
    GROUP,
    PRIVATE,
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
from tests.messaging.test_slot_moves import begin, finish_moves, move

ALICE, CAROL, MALLORY = users("set1", 3)
BOB = user("set2")


@pytest.fixture(autouse=True)
def ready(sets: dict[str, Log], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_rules.rules.renew()
    monkeypatch.setattr(slot_moves, "SETTLE", 0)


def recall(who: str, kind: Any, target: Any, uid: Any, **facts: Any) -> Sent:
    content = {"conversationType": kind, "targetId": target, "messageUId": uid, "sentTime": 1}
    return send(who, "recallMsg", who, up(content, "RC:RcCmd", 1), **facts)


@pytest.mark.parametrize("bob", [BOB, CAROL], ids=["of another SET", "of the same SET"])
def test_a_recalled_message_is_gone_for_both_and_both_are_told(bob: str) -> None:
    gone, stays = say(ALICE, bob, "gone"), say(ALICE, bob, "stays")
    exchanged()
    sent = recall(ALICE, PRIVATE, bob, gone)
    assert sent.status == 0
    exchanged()
    for reader, peer in ((ALICE, bob), (bob, ALICE)):
        assert uids(reader) == [stays, sent.uid]
        assert [each.msgId for each in history(reader, peer)] == [stays]
        assert [each.fromUserId for each in boxes(reader)] == [peer, peer]
    assert boxes(bob)[-1].classname == "RC:RcCmd"
    assert json.loads(boxes(bob)[-1].content)["messageUId"] == gone


def test_gateways_show_the_recall_and_not_what_was_recalled_when_they_read_it_from_the_log() -> None:
    gone = say(ALICE, BOB)
    sent = recall(ALICE, PRIVATE, BOB, gone)
    assert [(row.to, row.method) for row in sent.rows] == [((BOB,), "recallMsg")]
    exchanged()
    for name, to, sync in (("set2", (BOB,), False), ("set1", (), True)):
        read = read_feed(name, Request(0, "", "readFeed", name, b"\x00")).payload
        first, second = Hint.unpack(read).rows
        assert (first.uid, first.to, first.sync) == (gone, (), False)
        assert (second.uid, second.to, second.sync) == (sent.uid, to, sync)


def test_a_recalled_message_of_a_group_is_shown_to_no_member_by_the_feed() -> None:
    group = group_of("set1")
    join(group, ALICE, CAROL)
    gone = say(ALICE, group, method="pgMsgP")
    recall(ALICE, GROUP, group, gone)
    rows = Hint.unpack(read_feed("set1", Request(0, "", "readFeed", "set1", b"\x00")).payload).rows
    assert [row.uid for row in rows if row.kind == GROUP] == [rows[-1].uid]
    assert rows[-1].method == "recallMsg" and rows[-1].to == ()


@pytest.mark.parametrize("where", SETS)
def test_a_message_of_a_group_is_gone_for_its_members_in_every_set(where: str) -> None:
    group = group_of(where)
    join(group, ALICE, BOB, CAROL)
    gone, stays = say(ALICE, group, "gone", "pgMsgP"), say(ALICE, group, "stays", "pgMsgP")
    exchanged()
    sent = recall(ALICE, GROUP, group, gone)
    assert sent.status == 0
    exchanged()
    for reader in (ALICE, BOB, CAROL):
        assert uids(reader) == [stays, sent.uid]
        assert [each.msgId for each in history(reader, group, "qryGMsg")] == [stays]


def test_a_recall_of_a_directed_message_is_told_to_those_who_had_it() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    gone = say(ALICE, group, "for bob", "pgMsgP", toUserIds=[BOB])
    sent = recall(ALICE, GROUP, group, gone)
    exchanged()
    assert uids(BOB) == uids(ALICE) == [sent.uid]
    assert uids(CAROL) == []


@pytest.mark.parametrize("held", [False, True], ids=["shown", "held back"])
def test_a_message_of_a_chatroom_is_gone_from_pulls_and_history(held: bool) -> None:
    room = group_of("set1")
    chatrooms.create("set1", 1, room)
    facts = {"options": JOINED}
    gone, stays = (send(ALICE, "chatMsg", room, up(text), **facts).uid for text in ("gone", "stays"))
    chatrooms.change("set1", 1, room, {"held": held})
    sent = recall(ALICE, CHATROOM, room, gone, **facts)
    assert sent.status == 0
    assert [(row.gone, row.to) for row in sent.rows] == [(gone, () if held else (room,))]
    wanted = im.HistoryMsgInput(targetId=room, time=0, count=9, order=0)
    join_room = ask(BOB, "joinChrm", im.ChrmInput(nothing=0), target=room, server_set="set1")
    assert join_room.status == 0
    read = ask(BOB, "qryCHMsg", wanted, target=room, server_set="set1").payload
    assert [each.msgId for each in im.HistoryMsgOuput.FromString(read).list] == [stays]
    pulled = ask(BOB, "chrmPull", im.ChrmPullMsg(syncTime=0, count=9), target=room, server_set="set1").payload
    expected = [stays] if held else [stays, sent.uid]
    assert [each.msgId for each in im.DownStreamMessages.FromString(pulled).list] == expected


def test_mallory_cannot_recall_alices_messages_and_nothing_is_stored() -> None:
    group, room = group_of("set1"), group_of("set1")
    join(group, ALICE, BOB, MALLORY)
    chatrooms.create("set1", 1, room)
    private, of_group = say(ALICE, CAROL), say(ALICE, group, method="pgMsgP")
    of_room = send(ALICE, "chatMsg", room, up(), options=JOINED).uid
    exchanged()
    before, tries = stored(), []
    for who in (MALLORY, BOB):
        tries += [recall(who, PRIVATE, CAROL, private), recall(who, GROUP, group, of_group)]
        tries += [recall(who, CHATROOM, room, of_room)]
    tries += [recall(CAROL, PRIVATE, ALICE, private)]  # it was sent to her
    assert {each.status for each in tries} == {AckStatus.RECALL_NOT_OWN}
    assert recall(MALLORY, PRIVATE, CAROL, private, generation=2).status == AckStatus.RECALL_NOT_OWN_V2
    assert stored() == before
    assert private in uids(CAROL) and of_group in uids(BOB)


def test_the_receiver_is_told_so_too_before_the_copy_has_come_to_his_set() -> None:
    uid = say(ALICE, BOB)
    assert recall(BOB, PRIVATE, ALICE, uid).status == AckStatus.RECALL_NOT_OWN


def test_a_sender_who_has_left_the_group_recalls_nothing_there() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB)
    uid = say(ALICE, group, method="pgMsgP")
    send("", "grpChange", group, msgpack.packb(["quit", [ALICE], ""]), options=FROM_SERVER)
    before = stored()
    assert recall(ALICE, GROUP, group, uid).status == AckStatus.NOT_IN_GROUP
    assert stored() == before


def test_what_is_not_there_or_elsewhere_than_it_says_is_not_recalled() -> None:
    uid = say(ALICE, BOB)
    foreign = send(ALICE, "ppMsgP", BOB, up(), tenant=2).uid
    before = stored()
    for kind, target, what in (
        (PRIVATE, BOB, "no such"),
        (PRIVATE, BOB, foreign),
        (PRIVATE, CAROL, uid),
        (GROUP, BOB, uid),
        (CHATROOM, BOB, uid),
    ):
        assert recall(ALICE, kind, target, what).status == AckStatus.RECALL_PARAMETERS
    assert stored() == before
    assert uids(BOB) == [uid]


WHOLE: dict[str, Any] = {"conversationType": 1, "targetId": BOB, "messageUId": "u"}
WRONG: list[dict[str, Any]] = [
    {"conversationType": 5},
    {"conversationType": True},
    {"conversationType": "1"},
    {"conversationType": None},
    {"targetId": 5},
    {"targetId": ""},
    {"targetId": "\ud800"},
    {"targetId": "b" * 65},
    {"messageUId": None},
    {"messageUId": "\0"},
    {"messageUId": {}},
    {"messageUId": "u" * 65},
]
CONTENTS: list[Any] = [
    b"",
    b"{",
    b"[" * 10_000,
    b"[" * 100_000,
    [],
    b"\xff",
    *(WHOLE | each for each in WRONG),
]
UNREADABLE = [
    b"",
    MALFORMED_BYTES,
    up(WHOLE).SerializeToString(),  # of another class
    *(up(content, "RC:RcCmd").SerializeToString() for content in CONTENTS),
]


@pytest.mark.parametrize("payload", UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_recall_that_cannot_be_read_is_refused_and_leaves_nothing(payload: bytes) -> None:
    assert send(ALICE, "recallMsg", ALICE, payload).status == AckStatus.RECALL_PARAMETERS
    assert stored() == 0


def test_to_recall_again_is_no_error_and_tells_nobody_again() -> None:
    uid = say(ALICE, BOB)
    first, again = (recall(ALICE, PRIVATE, BOB, uid) for _ in range(2))
    assert (first.status, again.status) == (0, 0)
    assert [len(first.rows), len(again.rows)] == [1, 0]
    assert uids(BOB) == [first.uid]


def test_the_server_recalls_in_anybodys_name() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB)
    uid, private = say(ALICE, group, method="pgMsgP"), say(ALICE, BOB)
    assert recall("admin", GROUP, group, uid, options=FROM_SERVER).status == 0
    assert recall(BOB, PRIVATE, ALICE, private, options=FROM_SERVER).status == 0
    exchanged()
    assert uid not in uids(BOB) + uids(ALICE)
    assert private not in uids(BOB) + uids(ALICE)
    stranger = recall("admin", PRIVATE, BOB, say(ALICE, BOB), options=FROM_SERVER)
    assert stranger.status == AckStatus.RECALL_PARAMETERS


def flags(server_set: str, uid: str) -> list[bool]:
    rows = log.of(server_set).read("SELECT flags FROM messaging_message WHERE uid = %s", (uid,))
    return [bool(each & RECALLED) for (each,) in rows]


def test_a_copy_that_comes_after_its_recall_is_recalled_and_nothing_waits_any_longer() -> None:
    uid = say(ALICE, BOB)
    recall(ALICE, PRIVATE, BOB, uid)
    # Both come in one page: the recall takes effect before the copies are there.
    exchanged()
    assert flags("set1", uid) == [True]
    assert EarlyChange.objects.using("set1").count() == 0


def test_a_recall_from_a_log_that_is_read_sooner_waits_for_its_message(three: list[str]) -> None:
    uid = say(ALICE, BOB)
    move(BOB, "set3")
    sent = recall(ALICE, PRIVATE, BOB, uid)
    with away("set2"):
        exchange.run("set1")
    assert uids(ALICE) == [sent.uid]
    assert EarlyChange.objects.using("set1").count() == 1
    exchange.run("set1")
    assert flags("set1", uid) == [True]
    assert EarlyChange.objects.using("set1").count() == 0
    assert uids(ALICE) == uids(BOB) == [sent.uid]


def test_a_message_that_is_recalled_while_its_slot_moves_is_gone_at_the_new_home_too() -> None:
    uid = say(CAROL, ALICE)
    on_its_way = begin(topology.slot("1", ALICE), "set2")
    slot_moves._copy_page(on_its_way, 1)
    on_its_way.save()
    assert flags("set2", uid) == [False]
    recalled = recall(CAROL, PRIVATE, ALICE, uid)
    finish_moves()
    topology.topology.renew()
    assert flags("set2", uid) == [True]
    assert uids(ALICE) == [recalled.uid]


def test_a_message_of_a_group_is_recalled_after_the_group_has_moved() -> None:
    group = group_of("set1")
    join(group, ALICE, CAROL)
    uid = say(ALICE, group, method="pgMsgP")
    move(group, "set2")
    assert topology.home(1, group) == "set2"
    sent = recall(ALICE, GROUP, group, uid)
    assert sent.status == 0
    exchanged()
    assert uids(CAROL) == uids(ALICE) == [sent.uid]


def test_a_recall_for_a_slot_that_went_elsewhere_is_sent_on() -> None:
    uid = say(ALICE, CAROL)
    move(CAROL, "set2")
    assert recall(ALICE, PRIVATE, CAROL, uid, server_set="set1").status == -1
    assert recall(ALICE, PRIVATE, CAROL, uid).status == 0
    exchanged()
    assert uid not in uids(ALICE) + uids(CAROL)


def test_what_waits_in_vain_is_forgotten() -> None:
    now = int(timezone.now().timestamp() * 1000)
    for number, days in enumerate((KEPT - 1, KEPT + 1)):
        EarlyChange.objects.using("set1").create(
            tenant=1, uid=f"u{number}", by="r", method="recallMsg", up=b"", at=now - days * 86_400_000
        )
    changes.forget("set1")
    assert [each.uid for each in EarlyChange.objects.using("set1").all()] == ["u0"]
