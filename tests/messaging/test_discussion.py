"""Discussions of v2: made and run by their members, and read like any conversation."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import pytest

from apps.messaging import exchange, groups, log, tasks
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, discussion, group
from apps.messaging.methods.pull import pull
from apps.messaging.models import Group, Membership
from apps.routing import topology
from apps.routing.envelope import REPEATED, Request
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


def at_the_same_moment(monkeypatch: pytest.MonkeyPatch, *calls: tuple[str, str, str, Any]) -> list[int]:
    """The statuses of calls each of which has found its discussion before any of them changes it."""
    found, all_have = discussion._find, threading.Barrier(len(calls))

    def find(server_set: str, request: Request) -> discussion.Discussion:
        its = found(server_set, request)
        all_have.wait(10)
        return its

    def one(call: tuple[str, str, str, Any]) -> int:
        who, method, target, body = call
        try:
            return ask(who, method, body, target=target, generation=2, server_set=home(target)).status
        finally:
            log.of(home(target)).close()

    with monkeypatch.context() as patched, ThreadPoolExecutor(len(calls)) as threads:
        patched.setattr(discussion, "_find", find)
        statuses = list(threads.map(one, calls))
    for name in SETS:
        exchange.run(name)
    return statuses


def test_with_the_last_two_who_leave_at_the_same_moment_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    lunch = make(ALICE, BOB)
    leaving = [(who, "quitDiz", lunch, NOTHING) for who in (ALICE, BOB)]
    assert at_the_same_moment(monkeypatch, *leaving) == [0, 0]
    assert not any(Group.objects.using(name).exists() for name in SETS)
    assert not any(Membership.objects.using(name).filter(until=None).exists() for name in SETS)


def test_one_whose_last_member_leaves_while_he_invites_is_over_or_has_an_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lunch = make(ALICE)
    inviting = (ALICE, "invtDiz", lunch, im.ChannelInvitationInput(users=[BOB]))
    statuses = at_the_same_moment(monkeypatch, inviting, (ALICE, "quitDiz", lunch, NOTHING))
    owners = list(Group.objects.using(home(lunch)).values_list("owner", flat=True))
    assert (statuses, owners) in (([0, 0], [BOB]), ([AckStatus.NOT_IN_DISCUSSION, 0], []))


def test_who_are_invited_at_the_same_moment_do_not_overfill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "SIZE_MAX", 4)
    lunch = make(ALICE, BOB)
    inviting = [
        (who, "invtDiz", lunch, im.ChannelInvitationInput(users=[f"{who}-{n}" for n in range(2)]))
        for who in (ALICE, BOB)
    ]
    assert sorted(at_the_same_moment(monkeypatch, *inviting)) == [0, AckStatus.DISCUSSION_JOIN]
    assert Group.objects.using(home(lunch)).get().size == 4


def test_one_that_is_asked_for_again_is_made_once() -> None:
    lunch = make(ALICE)
    wanted = im.CreateDiscussionInput(name="Lunch")
    again = reply(im.CreateDiscussionOutput, ALICE, "crDiz", wanted, generation=2, options=REPEATED)
    another = reply(im.CreateDiscussionOutput, ALICE, "crDiz", wanted, generation=2)
    assert again.id == lunch != another.id


def test_the_server_api_changes_no_discussion() -> None:
    lunch = make(ALICE, BOB)
    for how in (groups.JOIN, groups.QUIT, groups.DISMISS):
        payload = msgpack.packb([how, [BOB, CAROL], ""])
        asked = Request(1, "", "grpChange", lunch, payload, uuid.uuid4().hex)
        (verdict,) = group.change(home(lunch), [asked])
        assert isinstance(verdict, Entry)
        with pytest.raises(log.Denied):
            log.of(home(lunch)).append([verdict], within=1)
    assert groups.members(home(lunch), 1, lunch) == [ALICE, BOB]


def test_who_departs_from_the_app_leaves_its_discussions_too() -> None:
    lunch = make(ALICE, BOB)
    for number, leaving in enumerate((ALICE, BOB)):
        payload = msgpack.packb([groups.DEPART, [leaving], ""])
        (verdict,) = group.change(home(lunch), [Request(1, "", "grpChange", lunch, payload, f"uid-{number}")])
        assert isinstance(verdict, Entry)
        log.of(home(lunch)).append([verdict], within=1)
        heirs = list(Group.objects.using(home(lunch)).values_list("owner", flat=True))
        assert heirs == [BOB][number:]
