"""Discussions of v2: made and run by their members, and read like any conversation."""

import uuid
from typing import Any

import pytest

from apps.messaging import exchange, log, tasks
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, group
from apps.messaging.methods.pull import pull
from apps.messaging.models import Group, Membership
from apps.routing import topology
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import SETS, user

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))
NOTHING = im.LeaveChannelInput(nothing=0)


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def make(owner: str, *others: str) -> str:
    wanted = im.CreateDiscussionInput(name="Lunch")
    made: str = reply(im.CreateDiscussionOutput, owner, "crDiz", wanted, generation=2).id
    if others:
        assert of(owner, "invtDiz", made, im.ChannelInvitationInput(users=others)) == 0
    return made


def of(who: str, method: str, discussion: str, body: Any = NOTHING, tenant: int = 1) -> int:
    """The status of a call about a discussion."""
    answer = ask(
        who, method, body, target=discussion, generation=2, tenant=tenant, server_set=home(discussion)
    )
    for name in SETS:
        exchange.run(name)
    return answer.status


def info(who: str, discussion: str) -> im.ChannelInfoOutput:
    wanted = im.ChannelInfoInput(nothing=0)
    return reply(im.ChannelInfoOutput, who, "dizInf", wanted, target=discussion, server_set=home(discussion))


def send(sender: str, discussion: str, text: str) -> int:
    up = im.UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=text.encode()).SerializeToString()
    asked = Request(1, sender, "pdMsgP", discussion, up, uuid.uuid4().hex)
    (verdict,) = tasks.MESSAGE_METHODS["pdMsgP"](home(discussion), [asked])
    if isinstance(verdict, Refused):
        return verdict.status
    assert isinstance(verdict, Entry)
    log.of(home(discussion)).append([verdict], within=1)
    for name in SETS:
        exchange.run(name)
    return 0


def shown(reader: str) -> list[tuple[int, str, str]]:
    wanted = im.SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=False).SerializeToString()
    answer = pull(home(reader), Request(1, reader, "pullMsg", reader, wanted, generation=2))
    return [
        (m.type, m.groupId, m.content.decode()) for m in im.DownStreamMessages.FromString(answer.payload).list
    ]


def told(reader: str, discussion: str) -> list[str]:
    wanted = im.HistoryMsgInput(targetId=discussion, time=0, count=20, order=1)
    return [m.content.decode() for m in reply(im.HistoryMsgOuput, reader, "qryDMsg", wanted).list]


def test_members_read_what_is_said_while_they_are_in_it() -> None:
    lunch = make(ALICE, BOB)
    assert home(lunch) == home(ALICE)
    assert send(ALICE, lunch, "one") == 0
    assert of(BOB, "invtDiz", lunch, im.ChannelInvitationInput(users=[CAROL])) == 0
    assert send(BOB, lunch, "two") == 0
    assert shown(BOB) == [(2, lunch, "one")]
    assert shown(CAROL) == [(2, lunch, "two")]
    assert (told(ALICE, lunch), told(CAROL, lunch)) == (["one", "two"], ["two"])
    assert of(CAROL, "quitDiz", lunch) == 0
    assert send(ALICE, lunch, "three") == 0
    assert told(CAROL, lunch) == ["two"]
    listed = reply(im.RelationsOutput, ALICE, "qryRelation", im.RelationsInput(type=1, count=5), generation=2)
    assert [(each.type, each.userId, each.msg.content) for each in listed.info] == [(2, lunch, b"three")]


def test_it_tells_its_members_what_it_is() -> None:
    lunch = make(ALICE, BOB)
    its = info(BOB, lunch)
    assert (its.type, its.channelId, its.channelName, its.adminUserId) == (2, lunch, "Lunch", ALICE)
    assert (list(its.firstTenUserIds), its.openStatus) == ([ALICE, BOB], 0)
    assert of(BOB, "rename", lunch, im.RenameChannelInput(name="Dinner")) == 0
    assert info(ALICE, lunch).channelName == "Dinner"


def test_only_the_owner_closes_it_and_evicts() -> None:
    lunch = make(ALICE, BOB)
    closed, carol = im.ModifyPermissionInput(openStatus=1), im.ChannelInvitationInput(users=[CAROL])
    assert of(BOB, "pdOpen", lunch, closed) == AckStatus.OPERATION_BLOCKED
    assert of(BOB, "evctDiz", lunch, im.ChannelEvictionInput(user=ALICE)) == AckStatus.OPERATION_BLOCKED
    assert of(ALICE, "pdOpen", lunch, closed) == 0
    assert of(BOB, "invtDiz", lunch, carol) == AckStatus.DISCUSSION_INVITE
    assert of(ALICE, "invtDiz", lunch, carol) == 0
    assert of(ALICE, "evctDiz", lunch, im.ChannelEvictionInput(user=BOB)) == 0
    assert send(BOB, lunch, "?") == AckStatus.NOT_IN_DISCUSSION


def test_who_has_been_there_longest_has_it_when_its_owner_leaves_and_with_the_last_it_goes() -> None:
    lunch = make(ALICE, BOB, CAROL)
    assert of(ALICE, "quitDiz", lunch) == 0
    heir = info(BOB, lunch).adminUserId
    assert heir in (BOB, CAROL)
    for name in (BOB, CAROL):
        assert of(name, "quitDiz", lunch) == 0
    assert not any(Group.objects.using(name).exists() for name in SETS)
    assert not any(Membership.objects.using(name).filter(until=None).exists() for name in SETS)


@pytest.mark.parametrize("method", ["invtDiz", "evctDiz", "quitDiz", "rename", "pdOpen", "dizInf"])
def test_who_is_not_in_it_is_told_that_and_another_tenant_too(method: str) -> None:
    bodies: dict[str, Any] = {
        "invtDiz": im.ChannelInvitationInput(users=[CAROL]),
        "evctDiz": im.ChannelEvictionInput(user=ALICE),
        "rename": im.RenameChannelInput(name="Mine"),
        "pdOpen": im.ModifyPermissionInput(openStatus=1),
    }
    lunch, body = make(ALICE, BOB), bodies.get(method, NOTHING)
    assert of(CAROL, method, lunch, body) == AckStatus.NOT_IN_DISCUSSION
    assert of(ALICE, method, lunch, body, tenant=2) == AckStatus.NOT_IN_DISCUSSION
    assert of(ALICE, method, lunch, MALFORMED_BYTES) == AckStatus.MALFORMED
    assert info(ALICE, lunch).channelName == "Lunch"


def test_a_discussion_is_no_group_and_a_group_no_discussion() -> None:
    lunch = make(ALICE, BOB)
    up = im.UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b"x").SerializeToString()
    (verdict,) = group.admit(home(lunch), [Request(1, ALICE, "pgMsgP", lunch, up, "uid")])
    assert verdict == Refused(AckStatus.NOT_IN_GROUP)
    assert send(ALICE, "no-such-discussion", "x") == AckStatus.NOT_IN_DISCUSSION


def test_one_that_is_full_takes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "SIZE_MAX", 2)
    lunch = make(ALICE, BOB)
    assert of(BOB, "invtDiz", lunch, im.ChannelInvitationInput(users=[CAROL])) == AckStatus.DISCUSSION_JOIN
