"""Groups whose members and whose own slots move between SETs while messages flow and members come and go."""

import random
import uuid
from collections import defaultdict

import msgpack
import pytest

from apps.messaging import exchange, groups, log, slot_moves
from apps.messaging.log import Elsewhere, Entry, Log
from apps.messaging.methods import group
from apps.routing.envelope import FROM_SERVER, INCLUDE_SENDER, Request
from apps.routing.models import ServerSet, Slot, SlotMove
from apps.routing.protocol import im_pb2 as im
from apps.routing.topology import slot, topology
from tests.messaging.asking import reply
from tests.messaging.conftest import SETS, pulled, text, users
from tests.messaging.test_slot_moves import move

GROUP = "the-group"
ALICE, CAROL = users("set1", 2)
BOB, DAVE = users("set2", 2)


@pytest.fixture(autouse=True)
def at_once(sets: dict[str, Log], redis_client: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to be waited for before the source is cleaned."""
    monkeypatch.setattr(slot_moves, "SETTLE", 0)


def home(name: str) -> str:
    return topology.current.home(1, name)


def exchanged() -> None:
    for _ in range(2):  # what the first has taken may be for the second
        for name in SETS:
            exchange.run(name)


def ask_for(how: str, *its: str) -> None:
    payload = msgpack.packb([how, its, ""])
    asked = Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)
    (verdict,) = group.change(home(GROUP), [asked])
    assert isinstance(verdict, Entry)
    log.of(home(GROUP)).append([verdict], within=1)


def send(sender: str, options: int = 0) -> str:
    request = Request(1, sender, "pgMsgP", GROUP, text(), uuid.uuid4().hex, options)
    (verdict,) = group.admit(home(GROUP), [request])
    assert isinstance(verdict, Entry)
    log.of(home(GROUP)).append([verdict], within=1)
    return verdict.uid


def received(name: str) -> list[str]:
    return [each.uid for each in pulled(home(name), name) if not each.sent]


def sent(name: str) -> list[str]:
    return [each.uid for each in pulled(home(name), name) if each.sent]


def history(name: str) -> list[str]:
    wanted = im.HistoryMsgInput(targetId=GROUP, time=0, count=100, order=1)
    return [each.msgId for each in reply(im.HistoryMsgOuput, name, "qryGMsg", wanted).list]


@pytest.mark.parametrize("mover", [ALICE, BOB])
def test_who_moves_takes_along_what_he_has_sent_to_his_groups(mover: str) -> None:
    ask_for(groups.JOIN, ALICE, BOB, CAROL, DAVE)
    exchanged()
    own = [send(mover) for _ in range(3)]
    others = [send(CAROL), send(DAVE)]
    exchanged()
    for _ in range(3):
        move(mover, next(name for name in SETS if name != home(mover)))
        exchanged()
        assert (sent(mover), received(mover), history(mover)) == (own, others, own + others)
        assert history(CAROL) == own + others
        assert received(DAVE) == own + others[:1]


def test_a_group_that_moves_is_the_same_to_its_members() -> None:
    ask_for(groups.JOIN, ALICE, BOB, CAROL)
    exchanged()
    uids = [send(ALICE)]
    for _ in range(3):
        move(GROUP, next(name for name in SETS if name != home(GROUP)))
        uids.append(send(ALICE))
        exchanged()
        assert received(BOB) == received(CAROL) == history(BOB) == history(ALICE) == uids
    ask_for(groups.QUIT, BOB)
    uids.append(send(ALICE))
    exchanged()
    assert (received(BOB), received(CAROL)) == (uids[:-1], uids)


@pytest.mark.parametrize("sender", [ALICE, BOB])
def test_what_the_server_sends_in_a_members_name_is_not_shown_to_him_wherever_he_is_at_home(
    sender: str,
) -> None:
    ask_for(groups.JOIN, ALICE, BOB, CAROL, DAVE)
    exchanged()
    unseen, seen = send(sender, FROM_SERVER), send(sender, FROM_SERVER | INCLUDE_SENDER)
    exchanged()
    for _ in range(2):
        assert sent(sender) == history(sender) == [seen]
        assert received(CAROL) == received(DAVE) == [unseen, seen]
        move(sender, next(name for name in SETS if name != home(sender)))
        exchanged()


class World:
    """Members who come, talk and go, and an operator who moves their slots and their group's."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.users = users("set1", 3) + users("set2", 3)
        self.members: set[str] = set()
        self.read: dict[str, list[str]] = defaultdict(list)  # user -> uids he is to be shown
        self.own: dict[str, list[str]] = defaultdict(list)

    def taken(self, verdict: object) -> bool:
        """Whether the SET that gateways believe in takes it; nobody does while the slot is between two."""
        assert isinstance(verdict, Entry)
        try:
            log.of(home(GROUP)).append([verdict], within=1)
        except Elsewhere:
            return False
        return True

    def send(self) -> None:
        if not self.members:
            return
        sender = self.random.choice(sorted(self.members))
        request = Request(1, sender, "pgMsgP", GROUP, text(), uuid.uuid4().hex)
        (verdict,) = group.admit(home(GROUP), [request])
        if isinstance(verdict, Entry) and self.taken(verdict):
            self.own[sender].append(verdict.uid)
            for each in self.members - {sender}:
                self.read[each].append(verdict.uid)

    def change(self) -> None:
        name = self.random.choice(self.users)
        how = groups.QUIT if name in self.members else groups.JOIN
        payload = msgpack.packb([how, [name], ""])
        asked = Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)
        if self.taken(group.change(home(GROUP), [asked])[0]):
            self.members ^= {name}

    def move(self) -> None:
        number = slot("1", self.random.choice([*self.users, GROUP, GROUP]))
        held = Slot.objects.get(number=number)
        if not SlotMove.objects.exclude(step__in=slot_moves.OVER).exists():
            to = ServerSet.objects.exclude(pk=held.server_set.pk).get()
            SlotMove.objects.create(
                cluster=held.cluster, number=number, source=held.server_set, destination=to
            )

    def step(self) -> None:
        for each in SlotMove.objects.exclude(step__in=slot_moves.OVER):
            slot_moves.step(each.pk)
        topology.renew()

    def exchange(self) -> None:
        exchange.run(self.random.choice(SETS))

    def go(self, number: int) -> None:
        acts = [self.send] * 8 + [self.change] * 2 + [self.move] + [self.step] * 3 + [self.exchange] * 3
        for _ in range(number):
            self.random.choice(acts)()

    def settle(self) -> None:
        while SlotMove.objects.exclude(step__in=slot_moves.OVER).exists():
            self.step()
        exchanged()


@pytest.mark.parametrize("seed", range(6))
def test_a_member_is_shown_what_was_sent_while_he_was_one_wherever_slots_are(seed: int) -> None:
    world = World(seed)
    for _ in range(3):
        world.go(60)
        world.settle()
        for name in world.users:
            assert sorted(received(name)) == sorted(world.read[name]), name
            assert sorted(sent(name)) == sorted(world.own[name]), name
            assert received(name) == world.read[name], name
