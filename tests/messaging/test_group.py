"""Groups whose members are at home in two SETs: who may send, and who reads what."""

import itertools
import uuid
from collections.abc import Sequence

import msgpack
import pytest

from apps.messaging import exchange, groups, log, tasks, tenant_rules
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, Verdict, group
from apps.messaging.methods.history import history
from apps.messaging.methods.pull import pull
from apps.messaging.models import GroupRule, Membership
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, WANTS_GROUPS, Answer, Request
from apps.routing.protocol.im_pb2 import (
    DownStreamMessages,
    HistoryMsgInput,
    HistoryMsgOuput,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.packets import AckStatus
from tests.messaging.conftest import SETS, user

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))
GROUP = next(name for n in itertools.count() if topology.slot("1", name := f"g{n}") % 2 == 0)  # of set1


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def request(sender: str, text: str = "x", **facts: object) -> Request:
    up = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=text.encode(), **facts)  # type: ignore[arg-type]
    return Request(1, sender, "pgMsgP", GROUP, up.SerializeToString(), uuid.uuid4().hex)


def store(logs: dict[str, Log], *verdicts: Verdict) -> None:
    entries = [verdict for verdict in verdicts if isinstance(verdict, Entry)]
    assert len(entries) == len(verdicts)
    logs["set1"].append(entries, within=1)
    exchange.run("set2")


def change(logs: dict[str, Log], how: str, *users: str) -> None:
    payload = msgpack.packb([how, users, "name"])
    asked = Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)
    store(logs, *group.change("set1", [asked]))


def send(logs: dict[str, Log], sender: str, text: str, **facts: object) -> None:
    store(logs, *group.admit("set1", [request(sender, text, **facts)]))


def shown(reader: str) -> list[str]:
    wanted = SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=False).SerializeToString()
    asked = Request(1, reader, "pullMsg", reader, wanted, options=WANTS_GROUPS, generation=4)
    answer = pull(home(reader), asked)
    return [message.content.decode() for message in DownStreamMessages.FromString(answer.payload).list]


def refusals(senders: Sequence[str]) -> list[int]:
    verdicts = group.admit("set1", [request(sender) for sender in senders])
    return [verdict.status if isinstance(verdict, Refused) else 0 for verdict in verdicts]


def test_every_member_reads_each_message_once_whatever_his_set(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB, CAROL)
    for text in ("one", "two"):
        send(logs, ALICE, text)
    send(logs, BOB, "three")
    assert shown(BOB) == ["one", "two"]
    assert shown(CAROL) == ["one", "two", "three"]
    assert shown(ALICE) == ["three"]


def test_the_time_that_is_shown_is_the_same_in_every_set(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB)
    for _ in range(3):
        logs["set2"].append([Entry(uuid.uuid4().hex, 1, 1, ALICE, BOB, 3, "ppMsgP", b"")], within=1)
        send(logs, ALICE, "x")
    sql = "SELECT uid, sent FROM messaging_message WHERE kind = 3 ORDER BY sent"
    assert len(logs["set1"].read(sql, ())) == 3
    assert logs["set1"].read(sql, ()) == logs["set2"].read(sql, ())
    times = [time for (time,) in logs["set2"].read("SELECT time FROM messaging_message ORDER BY seq", ())]
    assert times == sorted(set(times))


@pytest.mark.parametrize("member", [BOB, CAROL])
def test_a_member_reads_what_was_sent_while_he_was_in_it(logs: dict[str, Log], member: str) -> None:
    change(logs, groups.JOIN, ALICE)
    send(logs, ALICE, "before")
    change(logs, groups.JOIN, member)
    send(logs, ALICE, "during")
    change(logs, groups.QUIT, member)
    send(logs, ALICE, "after")
    change(logs, groups.JOIN, member)
    send(logs, ALICE, "again")
    assert shown(member) == ["during", "again"]
    wanted = HistoryMsgInput(targetId=GROUP, time=0, count=10, order=0).SerializeToString()
    reply = history(home(member), Request(1, member, "qryGMsg", member, wanted)).payload
    assert [message.content for message in HistoryMsgOuput.FromString(reply).list] == [b"again", b"during"]


def test_a_pull_tells_the_groups_of_now(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB)
    wanted = SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=False).SerializeToString()
    for reader, expected in ((BOB, (GROUP,)), (CAROL, ())):
        asked = Request(1, reader, "pullMsg", reader, wanted, options=WANTS_GROUPS)
        assert pull(home(reader), asked).groups == expected
        assert pull(home(reader), asked._replace(options=0)).groups is None


def test_a_directed_message_is_read_by_those_whom_it_names_and_by_its_sender(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB, CAROL)
    send(logs, ALICE, "for bob", toUserIds=[BOB])
    assert shown(BOB) == ["for bob"]
    assert shown(CAROL) == []


def test_who_may_send(logs: dict[str, Log]) -> None:
    assert refusals([ALICE]) == [AckStatus.NOT_IN_GROUP]  # no such group
    change(logs, groups.JOIN, ALICE, BOB)
    assert refusals([ALICE, BOB, CAROL]) == [0, 0, AckStatus.NOT_IN_GROUP]
    rule(ALICE, GroupRule.Kind.MUTED)
    assert refusals([ALICE, BOB]) == [AckStatus.GROUP_MUTED, 0]
    GroupRule.objects.using("set1").update(until=log.now())
    assert refusals([ALICE, BOB]) == [0, 0]  # its time is over
    rule("", GroupRule.Kind.ALL_MUTED)
    rule(BOB, GroupRule.Kind.EXEMPT)
    assert refusals([ALICE, BOB]) == [AckStatus.GROUP_MUTED, 0]
    rule(BOB, GroupRule.Kind.MUTED)
    assert refusals([BOB]) == [AckStatus.GROUP_MUTED]  # his own is the stronger one


def rule(name: str, kind: int) -> None:
    GroupRule.objects.using("set1").create(
        tenant=1, group=GROUP, user=name, kind=kind, slot=topology.slot("1", GROUP), until=1 << 50
    )


def test_who_is_muted_everywhere_may_send_nowhere(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB)
    tenant_rules.add(1, tenant_rules.Rule.GROUP_MUTED, [ALICE])
    tenant_rules.rules.renew()
    assert refusals([ALICE, BOB]) == [AckStatus.GROUP_MUTED, 0]
    tenant_rules.remove(1, tenant_rules.Rule.GROUP_MUTED, [ALICE])
    tenant_rules.rules.renew()
    assert refusals([ALICE, BOB]) == [0, 0]


def test_a_mute_survives_leaving_and_the_group_itself(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB)
    rule(ALICE, GroupRule.Kind.MUTED)
    change(logs, groups.QUIT, ALICE)
    change(logs, groups.DISMISS)
    change(logs, groups.JOIN, ALICE, BOB)
    assert refusals([ALICE, BOB]) == [AckStatus.GROUP_MUTED, 0]


def test_who_was_in_a_group_of_before_does_not_read_that_of_now(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB)
    send(logs, ALICE, "old")
    change(logs, groups.DISMISS)
    change(logs, groups.JOIN, ALICE, CAROL)
    send(logs, ALICE, "new")
    assert shown(BOB) == ["old"]
    assert shown(CAROL) == ["new"]


def test_a_message_to_3000_members_of_two_sets_makes_two_rows(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, *(f"member-{n}" for n in range(2999)))
    send(logs, ALICE, "x")
    sql = "SELECT count(*) FROM messaging_message WHERE kind = 3"
    assert [logs[name].read(sql, ()) for name in SETS] == [[(1,)], [(1,)]]


def test_a_dismissed_group_is_over_for_all_of_its_members(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE, BOB)
    send(logs, ALICE, "last")
    change(logs, groups.DISMISS)
    assert refusals([ALICE]) == [AckStatus.NOT_IN_GROUP]
    assert shown(BOB) == ["last"]
    for name in SETS:
        assert not Membership.objects.using(name).filter(until=None).exists()


def test_coming_twice_and_going_without_having_come_change_nothing(logs: dict[str, Log]) -> None:
    change(logs, groups.QUIT, ALICE)
    assert refusals([ALICE]) == [AckStatus.NOT_IN_GROUP]
    for _ in range(2):
        change(logs, groups.JOIN, ALICE, BOB)
    assert groups.members("set1", 1, GROUP) == sorted([ALICE, BOB])
    assert Membership.objects.using("set2").filter(user=BOB).count() == 1


def joining(name: str, to: str = GROUP) -> Entry:
    asked = Request(1, "", "grpChange", to, msgpack.packb([groups.JOIN, [name], ""]), uuid.uuid4().hex)
    (verdict,) = group.change("set1", [asked])
    assert isinstance(verdict, Entry)
    return verdict


def test_a_group_that_is_full_takes_nobody(logs: dict[str, Log], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "SIZE_MAX", 2)
    change(logs, groups.JOIN, ALICE, BOB)
    with pytest.raises(log.Denied) as denied:
        logs["set1"].append([joining(ALICE), joining(CAROL)], within=1)
    assert denied.value.statuses == {1: AckStatus.OPERATION_BLOCKED}
    assert groups.members("set1", 1, GROUP) == sorted([ALICE, BOB])


def test_who_come_at_the_same_moment_do_not_overfill_it(
    logs: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "SIZE_MAX", 2)
    judged_before_any_came = [joining(name) for name in (ALICE, BOB, CAROL)]
    answers: list[Answer] = []
    stored = tasks._append("set1", list(enumerate(judged_before_any_came)), answers)
    assert stored is not None and [row.to for row in stored.rows] == [(ALICE,), (BOB,)]
    assert [(answer.place, answer.status) for answer in answers] == [(2, AckStatus.OPERATION_BLOCKED)]
    assert groups.members("set1", 1, GROUP) == sorted([ALICE, BOB])


def test_who_comes_as_it_is_dismissed_has_gone_too_wherever_he_is_at_home(logs: dict[str, Log]) -> None:
    change(logs, groups.JOIN, ALICE)
    payload = msgpack.packb([groups.DISMISS, [], ""])
    judged_before_he_came = group.change(
        "set1", [Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)]
    )
    change(logs, groups.JOIN, BOB)
    store(logs, *judged_before_he_came)
    for name in SETS:
        assert not Membership.objects.using(name).filter(until=None).exists()
