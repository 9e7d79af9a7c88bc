"""What is for many, a group or everybody, is shown to each device once, whichever SET its user is at home in.

Devices go by times of their SET's log. A message of many has a time of its own in each log.
"""

import uuid
from collections import Counter

import msgpack
import pytest

from apps.messaging import exchange, groups, log, slot_moves
from apps.messaging.log import Elsewhere, Entry, Log
from apps.messaging.methods import group, pull, system
from apps.routing.envelope import ELSEWHERE, FROM_SERVER, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.topology import slot, topology
from tests.messaging.conftest import SETS, entry, text
from tests.messaging.test_group_moves import GROUP, World, home
from tests.messaging.test_slot_moves import begin, finish_moves, move

ALICE, CAROL, *_ = World(0).users[:3]
BOB = World(0).users[3]


@pytest.fixture(autouse=True)
def at_once(sets: dict[str, Log], redis_client: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to be waited for before the source is cleaned."""
    monkeypatch.setattr(slot_moves, "SETTLE", 0)


class Device:
    """It pulls past its cursor, where its gateway believes its user to be at home."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cursor = 0
        self.shown: list[str] = []

    def pull(self) -> list[str]:
        """What it is shown this time."""
        shown: list[str] = []
        while True:
            wanted = im.SyncRequestMsg(ispolling=False, isPullSend=False, syncTime=self.cursor)
            request = Request(1, self.name, "pullMsg", self.name, wanted.SerializeToString(), generation=4)
            answer = pull.pull(home(self.name), request)
            if answer.status == ELSEWHERE:
                break
            reply = im.DownStreamMessages.FromString(answer.payload)
            shown += [each.msgId for each in reply.list]
            self.cursor = reply.syncTime
            if reply.finished:
                break
        self.shown += shown
        return shown


def to_all() -> Entry:
    asked = Request(1, "news", "sysMsg", "", text(), uuid.uuid4().hex, FROM_SERVER)
    (verdict,) = system.admit(home(""), [asked])
    assert isinstance(verdict, Entry)
    return verdict


def exchanged() -> None:
    for _ in range(2):
        for name in SETS:
            exchange.run(name)


def other(name: str) -> str:
    return next(each for each in SETS if each != home(name))


def ahead(server_set: str, ms: int) -> None:
    sql = "UPDATE messaging_head SET time = GREATEST(time, %s)"
    log.of(server_set).run(lambda connection: connection.execute(sql, (log.now() + ms,)), within=1)


def start() -> None:
    """A group of Alice, Bob and Carol."""
    payload = msgpack.packb([groups.JOIN, [ALICE, BOB, CAROL], ""])
    asked = Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)
    (verdict,) = group.change(home(GROUP), [asked])
    assert isinstance(verdict, Entry)
    log.of(home(GROUP)).append([verdict], within=1)
    exchanged()


def of_many(kind: str) -> Entry:
    if kind == "to all":
        return to_all()
    request = Request(1, "server", "pgMsgP", GROUP, text(), uuid.uuid4().hex, FROM_SERVER)
    (verdict,) = group.admit(home(GROUP), [request])
    assert isinstance(verdict, Entry)
    return verdict


def place(kind: str) -> str:
    return home("" if kind == "to all" else GROUP)


BOTH = pytest.mark.parametrize("kind", ["to all", "group"])


@BOTH
@pytest.mark.parametrize("behind", [False, True])
def test_who_has_it_is_not_shown_it_again_where_he_comes_to(kind: str, behind: bool) -> None:
    """Whichever of the two SETs has the later times."""
    start()
    mover = next(name for name in (ALICE, BOB) if home(name) == place(kind))
    ahead(home(mover) if behind else other(mover), 3_000)
    message = of_many(kind)
    log.of(place(kind)).append([message], within=1)
    exchanged()
    had, has_not = Device(mover), Device(mover)
    assert had.pull() == [message.uid]
    has_not.cursor = had.cursor - 1
    for _ in range(3):
        move(mover, other(mover))
        exchanged()
        assert had.pull() == []
        assert Device(mover).pull() == [message.uid]
        late = Device(mover)
        late.cursor = has_not.cursor
        assert late.pull() == [message.uid]


@BOTH
def test_who_comes_from_a_set_that_is_behind_is_shown_it_and_those_who_were_there_are_not(kind: str) -> None:
    start()
    at = place(kind)
    mover = next(name for name in (ALICE, BOB) if home(name) != at)
    bystander = Device(next(name for name in (ALICE, BOB) if home(name) == at))
    message = of_many(kind)
    log.of(at).append([message], within=1)
    assert bystander.pull() == [message.uid]
    ahead(home(mover), 3_000)
    private = entry(CAROL, mover)
    log.of(home(mover)).append([private], within=1)
    device = Device(mover)
    assert device.pull() == [private.uid]
    move(mover, at)
    exchanged()
    assert device.pull() == [message.uid]
    assert (device.pull(), bystander.pull()) == ([], [])
    assert Device(bystander.name).pull() == [message.uid]
    log.of(at).append([last := of_many(kind)], within=1)
    exchanged()
    assert device.pull() == bystander.pull() == [last.uid]


@BOTH
def test_nobody_reads_his_old_set_once_it_has_given_him_up(kind: str) -> None:
    start()
    at = place(kind)
    mover = next(name for name in (ALICE, BOB) if home(name) == at)
    device = Device(mover)
    moving = begin(slot("1", mover), other(mover))
    while slot_moves.step(moving.pk).step != "switch":
        pass
    topology.renew()
    assert home(mover) == at
    log.of(at).append([message := of_many(kind)], within=1)
    assert device.pull() == []
    finish_moves()
    topology.renew()
    exchanged()
    assert home(mover) != at
    assert device.pull() == [message.uid]


class Crowd(World):
    """Who also gets what is for everybody, and whose devices read whenever they like."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.devices = [Device(name) for name in self.users for _ in range(2)]

    def tell_all(self) -> None:
        if self.taken(message := to_all()):
            for name in self.users:
                self.read[name].append(message.uid)

    def taken(self, verdict: object) -> bool:
        assert isinstance(verdict, Entry)
        try:
            log.of(home(verdict.target)).append([verdict], within=1)
        except Elsewhere:
            return False
        return True

    def pull(self) -> None:
        self.random.choice(self.devices).pull()

    def hurry(self) -> None:
        ahead(self.random.choice(SETS), self.random.randrange(2_000))

    def go(self, number: int) -> None:
        acts = [self.send] * 5 + [self.tell_all] * 3 + [self.change] + [self.move] * 2 + [self.step] * 4
        acts += [self.exchange] * 3 + [self.pull] * 8 + [self.hurry]
        for _ in range(number):
            self.random.choice(acts)()


@pytest.mark.parametrize("seed", range(8))
def test_each_device_is_shown_each_message_once_while_slots_move(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(3):
        crowd.go(70)
        crowd.settle()
        for device in crowd.devices:
            device.pull()
            shown, read = Counter(device.shown), Counter(crowd.read[device.name])
            assert (shown - read, read - shown) == (Counter(), Counter()), device.name
