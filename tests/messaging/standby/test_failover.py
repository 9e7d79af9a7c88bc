"""A standby takes its primary's place: nothing that can be had is lost, nobody is shown anything twice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest
from django.core.exceptions import ValidationError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apps.messaging import log
from apps.messaging.log import Log
from apps.messaging.methods.pull import pull
from apps.messaging.standby import failover, rejoining, shipping
from apps.messaging.standby.shipping import StandbyAway
from apps.routing.envelope import FROM_OLD_LOG, Request, first_seq
from apps.routing.models import Durability, Failover, ServerSet
from apps.routing.protocol.im_pb2 import DownStreamMessages, SyncRequestMsg
from apps.routing.topology import topology
from tests.messaging.conftest import away, entry, user
from tests.messaging.sending import group_of, history, join, say
from tests.messaging.standby.conftest import Two

ALICE, BOB = user("set1"), user("set1", but=user("set1"))


class Device:
    """One that pulls, as a v4 SDK does."""

    def __init__(self, name: str, device: str) -> None:
        self.user, self.name = name, device
        self.inbox = self.sendbox = 0

    def pull(self, options: int = 0, epoch: int = 0) -> list[str]:
        """The uids of everything that it has not had; `epoch`: the one that its gateway has seen begin."""
        got: list[str] = []
        while True:
            wanted = SyncRequestMsg(
                ispolling=False, isPullSend=True, syncTime=self.inbox, sendBoxSyncTime=self.sendbox
            )
            request = Request(
                1, self.user, "pullMsg", self.user, wanted.SerializeToString(), generation=4,
                device=self.name, options=options, epoch=epoch,
            )  # fmt: skip
            answer = pull("set1", request)
            assert answer.status == 0, answer
            reply = DownStreamMessages.FromString(answer.payload)
            got += [each.msgId for each in reply.list]
            self.inbox = reply.syncTime
            self.sendbox = max([self.sendbox, *(m.dataTime for m in reply.list if m.direction == 1)])
            if reply.finished:
                return got


def lose_primary(two: Two) -> Failover:
    """Fail over while the primary is away; it comes back afterwards."""
    with away(two.primary):
        return two.fail_over()


def rejoin(one: Failover) -> Failover:
    one = failover.step(one.pk)
    assert (one.step, one.problem) == (Failover.Step.DONE, "")
    return one


@pytest.mark.parametrize("durability", Durability.values)
def test_what_only_a_dead_primary_has_is_stored_again_before_it_is_acknowledged(
    two: Two, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    """It dies when it has committed, and the SET fails over while the message waits for its standby."""
    two.ship()
    ServerSet.objects.filter(name="set1").update(durability=durability)
    topology.renew()
    cover, covered = shipping.cover, []

    def fail_over_first(server_set: str, upto: int) -> bool:
        covered.append(upto)
        if len(covered) == 1:
            lose_primary(two)
        return cover(server_set, upto)

    monkeypatch.setattr(shipping, "cover", fail_over_first)
    uid = say(ALICE, BOB)
    assert [seq > first_seq(2) for seq in covered] == [False, True]
    assert two.rows(two.primary, "SELECT seq FROM messaging_message WHERE uid = %s", uid) == [(covered[1],)]
    rejoin(Failover.objects.get())
    assert Device(BOB, "new").pull() == [uid]


def test_a_planned_failover_loses_nothing_and_goes_back_likewise(two: Two, sets: dict[str, Log]) -> None:
    join(group_of("set1"), ALICE)  # notes for the standby, which the primary has when it is fenced
    uids = [say(ALICE, BOB) for _ in range(3)]
    for epoch in (2, 3):
        rejoin(two.fail_over(planned=True))
        uids.append(say(ALICE, BOB))
        assert two.rows(two.primary, "SELECT max(seq) FROM messaging_message")[0][0] > first_seq(epoch)
        two.ship()
        assert two.is_same()
    assert Device(BOB, "new").pull() == uids
    assert ServerSet.objects.get(name="set1").epoch == 3


def test_what_the_old_primary_alone_had_is_back_when_it_is_once(two: Two) -> None:
    shipped = say(ALICE, BOB)
    two.ship()
    tail = [say(ALICE, BOB) for _ in range(3)]
    one = lose_primary(two)
    later = say(ALICE, BOB)
    assert Device(BOB, "early").pull() == [shipped, later]
    one = rejoin(one)
    assert one.recovered == 3
    assert sorted(Device(BOB, "new").pull()) == sorted([shipped, *tail, later])
    assert [each.msgId for each in history(ALICE, BOB)] == [later, *reversed(tail), shipped]
    two.ship()
    assert two.is_same()
    assert rejoining.rejoin("set1", two.standby, one.fork or 0, one.epoch) == 0


def test_a_device_is_shown_what_it_lacks_of_that_and_nothing_else(two: Two) -> None:
    shown, offline, live = Device(BOB, "shown"), Device(BOB, "offline"), Device(BOB, "live")
    first = say(ALICE, BOB)
    two.ship()
    assert shown.pull() == live.pull() == [first]
    tail = [say(ALICE, BOB) for _ in range(2)]
    assert live.pull() == tail
    one = lose_primary(two)
    later = say(ALICE, BOB)
    assert (shown.pull(), live.pull()) == ([later], [later])  # each where it was when the old log ended
    rejoin(one)
    assert (live.pull(), shown.pull()) == ([], tail)
    assert offline.pull() == [first, *tail, later]
    last = say(ALICE, BOB)
    assert (live.pull(), shown.pull(), offline.pull()) == ([last], [last], [last])


def test_what_was_sent_on_another_device_is_synced_once_too(two: Two) -> None:
    sender, other = Device(ALICE, "sender"), Device(ALICE, "other")
    first = say(ALICE, BOB)
    two.ship()
    assert sender.pull() == other.pull() == [first]
    tail = say(ALICE, BOB)
    assert sender.pull() == [tail]
    one = lose_primary(two)
    assert (sender.pull(), other.pull()) == ([], [])
    rejoin(one)
    assert (sender.pull(), other.pull()) == ([], [tail])


def test_a_site_that_was_cut_off_and_went_on_is_joined_again(two: Two, sets: dict[str, Log]) -> None:
    here, there = Device(BOB, "here"), Device(BOB, "there")
    first = say(ALICE, BOB)
    two.ship()
    assert here.pull() == there.pull() == [first]
    with cut_off(two) as old:
        one = lose_primary(two)
        mine = [say(ALICE, BOB) for _ in range(2)]
        with old():
            theirs = [say(ALICE, BOB) for _ in range(2)]
            assert there.pull() == theirs
        mine.append(say(ALICE, BOB))
        assert here.pull() == mine
        with old():
            theirs.append(say(ALICE, BOB))
            assert there.pull() == theirs[-1:]
    rejoin(one)
    assert here.pull() == theirs
    assert there.pull(FROM_OLD_LOG) == mine
    last = say(ALICE, BOB)
    assert (here.pull(), there.pull()) == ([last], [last])
    assert sorted(Device(BOB, "new").pull()) == sorted([first, *mine, *theirs, last])


def test_a_node_that_has_not_heard_of_an_epoch_shows_nothing_again_to_who_comes_from_the_one_before(
    two: Two,
) -> None:
    page = Device(BOB, "page")
    first = say(ALICE, BOB)
    two.ship()
    assert page.pull() == [first]
    one = lose_primary(two)
    rejoin(one)
    uids = [say(ALICE, BOB) for _ in range(3)]
    assert page.pull() == uids
    assert page.pull(FROM_OLD_LOG, epoch=one.epoch + 1) == []
    uids.append(say(ALICE, BOB))
    assert page.pull(FROM_OLD_LOG, epoch=one.epoch + 1) == uids[-1:]


def test_a_page_that_was_at_the_site_that_was_cut_off_is_another_device_later(two: Two) -> None:
    page = Device(BOB, "page")
    first = say(ALICE, BOB)
    two.ship()
    page.pull()
    with cut_off(two) as old:
        one = lose_primary(two)
        mine = say(ALICE, BOB)
        with old():
            theirs = [say(ALICE, BOB) for _ in range(20)]
            assert page.pull() == theirs
            two.change(
                two.standby,
                """INSERT INTO messaging_devicecursor (tenant, "user", device, time, slot)
                   VALUES (1, %s, 'page', %s, %s)""",
                BOB, page.inbox, 0,
            )  # fmt: skip
    rejoin(one)
    page.name = "page, loaded again"
    assert page.pull() == [mine]
    assert first and page.pull() == []


ACTIONS = ["say", "say", "pull 0", "pull 1", "ship", "lose", "rejoin", "old say", "old pull"]


@given(st.lists(st.sampled_from(ACTIONS), max_size=25))
@example(["say", "ship", "lose", "say", "old say", "old pull", "say", "pull 0", "old say", "rejoin", "say"])
@example(
    ["say", "lose", "old pull", "old say", "rejoin", "lose", "old say", "old pull", "say", "rejoin", "lose"]
)
@example(["say", "lose", "say", "pull 0", "rejoin", "lose"])
@example(
    ["say", "pull 0", "lose", "say", "pull 0", "rejoin", "say", "pull 1", "lose", "pull 0", "rejoin", "lose"]
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_every_device_gets_every_message_once(two: Two, actions: list[str]) -> None:
    """The last device is at the old primary's site, which is cut off from a failover until it rejoins."""
    say(ALICE, BOB)  # what earlier examples have left is read first
    rejoined(two)
    devices = [Device(BOB, f"device {n}") for n in range(4)]
    *_, there = devices
    for device in devices:
        device.pull()
    got: list[list[str]] = [[] for _ in devices]
    uids = []
    was_cut_off = False
    for action in actions:
        is_cut_off = Failover.objects.exclude(step__in=failover.OVER).exists()
        if action == "say":
            uids.append(say(ALICE, BOB))
        elif action == "ship":
            with suppress(StandbyAway):
                two.ship()
        elif action == "lose" and not is_cut_off:
            if was_cut_off:
                got[-1] += there.pull(FROM_OLD_LOG)
            lose_primary(two)
            was_cut_off = False
        elif action == "rejoin":
            rejoined(two)
        elif action.startswith("old") and is_cut_off:
            with cut_off(two) as old, old():
                if action == "old say":
                    uids.append(say(ALICE, BOB))
                else:
                    got[-1] += there.pull()
                    was_cut_off = True
        elif action.startswith("pull"):
            number = int(action[-1])
            got[number] += devices[number].pull()
    rejoined(two)
    got[-1] += there.pull(FROM_OLD_LOG if was_cut_off else 0)
    for device, its in zip(devices, got, strict=True):
        its += device.pull()
        assert sorted(its) == sorted(uids), (device.name, actions)
    two.ship()
    assert two.is_same()


def rejoined(two: Two) -> None:
    failover.run(two.name)
    two.ship()


@contextmanager
def cut_off(two: Two) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """The old primary is not fenced, and there are processes that know nothing of a new one."""

    @contextmanager
    def old() -> Iterator[None]:
        renewed, known = topology._value, topology._value
        entry = known.sets["set1"]  # type: ignore[union-attr]
        before = replace(entry, database=two.standby, standby=two.primary, epoch=entry.epoch - 1)
        topology._value = replace(known, sets={**known.sets, "set1": before})  # type: ignore[union-attr,type-var]
        try:
            yield
        finally:
            topology._value = renewed

    yield old


def test_an_old_primary_that_returns_takes_no_writes(two: Two, sets: dict[str, Log]) -> None:
    say(ALICE, BOB)
    two.ship()
    with cut_off(two) as old:
        one = lose_primary(two)
        failover.fence(one.source)
        with old(), pytest.raises((log.Unavailable, psycopg.errors.ReadOnlySqlTransaction)):
            sets["set1"].append([entry(ALICE, BOB)], within=0)


def test_a_writer_of_an_old_epoch_is_shut_out(two: Two, sets: dict[str, Log]) -> None:
    sets["set1"].append([entry(ALICE, BOB)], within=5)
    two.change(two.primary, "UPDATE messaging_head SET epoch = 2")
    with pytest.raises(log.Unavailable, match="another epoch"):
        sets["set1"].append([entry(ALICE, BOB)], within=0)
    with pytest.raises(log.Unavailable, match="another epoch"):
        sets["set1"].run(log.lock_head, within=0)
    assert two.rows(two.primary, "SELECT count(*) FROM messaging_message") == [(1,)]


def test_a_server_that_began_anew_is_written_to_when_it_is_still_the_one(
    two: Two, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    its = sets["set1"]
    its.append([entry(ALICE, BOB)], within=5)
    its.close()
    its._server = "another time"
    its.append([entry(ALICE, BOB)], within=5)
    its.close()
    its._server = "another time"
    ServerSet.objects.filter(name="set1").update(database=two.standby, standby=two.primary, epoch=2)
    with pytest.raises(log.Unavailable, match="primary no more"):
        its.append([entry(ALICE, BOB)], within=0)


@pytest.mark.parametrize("killed_in", [*failover.BEFORE_SWITCH, Failover.Step.REJOIN])
def test_one_that_is_killed_in_a_step_goes_on(
    two: Two, monkeypatch: pytest.MonkeyPatch, killed_in: Failover.Step
) -> None:
    uids = [say(ALICE, BOB)]
    two.ship()
    uids.append(say(ALICE, BOB))
    save = Failover.save

    def killed(self: Failover, *args: object, **how: object) -> None:
        if now == killed_in:
            raise KeyboardInterrupt
        save(self, *args, **how)  # type: ignore[arg-type]

    one = failover.begin("set1", planned=False, asked_by="test")
    now = one.step
    monkeypatch.setattr(Failover, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        while True:
            one = failover.step(one.pk)
            now = one.step
    monkeypatch.undo()
    failover.run("set1")
    assert Failover.objects.get().step == Failover.Step.DONE
    two.primary, two.standby = two.standby, two.primary
    assert Device(BOB, "new").pull() == uids
    two.ship()
    assert two.is_same()


def test_rows_of_other_tables_come_with_it_unless_both_have_changed_them(two: Two) -> None:
    group = group_of("set1")
    join(group, ALICE)
    two.ship()
    join(group, BOB)
    two.change(two.primary, "UPDATE messaging_group SET name = 'old'")
    one = lose_primary(two)
    two.change(two.primary, "UPDATE messaging_group SET name = 'new'")
    rejoin(one)
    query = 'SELECT "user" FROM messaging_groupmember ORDER BY id'
    assert two.rows(two.primary, query) == [(ALICE,), (BOB,)]
    assert two.rows(two.primary, "SELECT name FROM messaging_group") == [("new",)]
    two.ship()
    assert two.is_same()


def test_what_cannot_be_done_is_refused_with_a_reason(two: Two) -> None:
    with away(two.standby), pytest.raises(ValidationError, match="does not answer"):
        failover.begin("set1", planned=False, asked_by="test")
    with away(two.primary), pytest.raises(ValidationError, match="waits for all that it has"):
        failover.begin("set1", planned=True, asked_by="test")
    with pytest.raises(ValidationError, match="has no standby"):
        failover.begin("set2", planned=True, asked_by="test")
    one = failover.begin("set1", planned=True, asked_by="test")
    with pytest.raises(ValidationError, match="under way already"):
        failover.begin("set1", planned=True, asked_by="test")
    failover.step(one.pk)
    failover.cancel(one.pk)
    assert say(ALICE, BOB)
    with pytest.raises(ValidationError, match="cannot be cancelled"):
        failover.cancel(two.fail_over().pk)


def test_the_outlook_tells_what_would_be_lost_and_changes_nothing(two: Two) -> None:
    say(ALICE, BOB)
    two.ship()
    say(ALICE, BOB)
    say(ALICE, BOB)
    assert (failover.outlook("set1").lost, failover.outlook("set1").position) == (2, 1)
    with away(two.primary):
        assert "until it is back" in str(failover.outlook("set1"))
    assert not Failover.objects.exists()
    assert two.rows(two.primary, "SELECT epoch FROM messaging_head") == [(1,)]
