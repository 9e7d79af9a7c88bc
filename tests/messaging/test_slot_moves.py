"""Slots that move between SETs while their users chat: nothing is lost, repeated or out of order."""

import random
import time
from collections import defaultdict

import msgpack
import pytest
from django.db import transaction

from apps.messaging import exchange, log, slot_moves, tasks
from apps.messaging.log import Elsewhere, Entry, Log, owns
from apps.messaging.methods.gateways import move_cursors, read_feed
from apps.messaging.methods.pull import pull
from apps.routing.envelope import ELSEWHERE, Answer, Hint, Request
from apps.routing.models import ServerSet, Slot, SlotMove
from apps.routing.placement import SLOTS
from apps.routing.protocol import im_pb2 as im
from apps.routing.slots import cancel
from apps.routing.topology import slot, topology
from tests.messaging.conftest import away, entry, pulled, users

Step = SlotMove.Step


class Crash(Exception):
    """A process that moves slots dies here."""


class World:
    """Users who chat, and an operator who moves their slots about."""

    def __init__(self, names: list[str], seed: int) -> None:
        self.names = names
        self.random = random.Random(seed)
        self.users = users("set1", 3) + users("set2", 3)
        self.routed = topology.renew()  # what the gateway knows
        self.waiting: list[Entry] = []
        self.stored: dict[str, tuple[Entry, int]] = {}  # uid -> message and its time, in the order of storing
        self.seen: dict[str, int] = defaultdict(int)  # user -> ms
        self.cursors: dict[str, int] = {}
        self.blocked: dict[str, set[str]] = defaultdict(set)

    # --- users

    def send(self) -> None:
        sender, target = self.random.choice(self.users), self.random.choice(self.users)
        self.waiting.append(entry(sender, target, seen=self.seen[sender]))

    def send_again(self) -> None:
        if self.stored:
            self.waiting.append(self.random.choice(list(self.stored.values()))[0])

    def deliver(self) -> None:
        """Everything that waits, by a gateway that may know an old topology; what is refused waits on."""
        batches: dict[str, list[Entry]] = defaultdict(list)
        for each in dict.fromkeys(self.waiting):
            batches[self.routed.home(1, each.target)].append(each)
        self.waiting = []
        for name, entries in batches.items():
            answers: list[Answer] = []
            appended = tasks._append(name, list(enumerate(entries)), answers)
            self.waiting += [entries[answer.place] for answer in answers if answer.status == ELSEWHERE]
            times = {row.uid: row.time for row in appended.rows} if appended else {}
            for each in entries:
                if each.uid in times:
                    assert each.uid not in self.stored
                    self.stored[each.uid] = (each, times[each.uid])
                    self.seen[each.sender] = times[each.uid]
            for uid, (_, at) in (appended.repeated if appended else {}).items():
                assert at == self.stored[uid][1]

    def acknowledge(self) -> None:
        """A device of somebody has read everything up to now."""
        name = self.random.choice(self.users)
        if home := self.home(name):
            self.cursors[name] = self.cursors.get(name, 0) + 1
            moved = msgpack.packb([[1, name, "Web", self.cursors[name]]])
            move_cursors(home, Request(0, "", "ackCursor", "cursors", moved))

    def block(self) -> None:
        name, other = self.random.choice(self.users), self.random.choice(self.users)
        if (home := self.home(name)) and other not in self.blocked[name]:
            self.blocked[name].add(other)
            sql = "INSERT INTO accounts_blockentry (tenant_id, owner, slot, blocked) VALUES (1, %s, %s, %s)"
            log.of(home).run(lambda c: c.execute(sql, (name, slot("1", name), other)), within=1)

    def home(self, name: str) -> str:
        """The SET that takes the user's messages at this moment; empty while none does."""
        return next((each for each in self.names if owns(bits(each), slot("1", name))), "")

    # --- the machinery

    def learn(self) -> None:
        self.routed = topology.renew()

    def move(self) -> None:
        number = slot("1", self.random.choice(self.users))
        source = Slot.objects.get(number=number).server_set
        destination = self.random.choice([each for each in self.names if each != source.name])
        if not SlotMove.objects.filter(number=number).exclude(step__in=slot_moves.OVER).exists():
            begin(number, destination)

    def step(self) -> None:
        if moves := list(SlotMove.objects.exclude(step__in=slot_moves.OVER)):
            slot_moves.step(self.random.choice(moves).pk)

    def crash(self) -> None:
        if moves := list(SlotMove.objects.exclude(step__in=slot_moves.OVER)):
            crash(self.random.choice(moves))

    def exchange(self) -> None:
        destination, origin = self.random.sample(self.names, 2)
        exchange.catch_up(destination, origin)

    def fill(self) -> None:
        exchange.fill_gaps(self.random.choice(self.names))

    ACTIONS = (
        (send, 12), (send_again, 1), (deliver, 8), (acknowledge, 2), (block, 1), (learn, 3),
        (move, 2), (step, 10), (crash, 2), (exchange, 4), (fill, 2),
    )  # fmt: skip

    def go(self, number: int) -> None:
        actions, weights = zip(*self.ACTIONS, strict=True)
        for action in self.random.choices(actions, weights, k=number):
            action(self)
        finish_moves()
        self.learn()
        self.deliver()
        assert not self.waiting
        for name in self.names:
            exchange.run(name)

    def check(self) -> None:
        messages = [each for each, _ in self.stored.values()]
        owned = {name: {n for n in range(SLOTS) if owns(bits(name), n)} for name in self.names}
        for number, name in Slot.objects.values_list("number", "server_set__name"):
            assert [each for each in self.names if number in owned[each]] == [name]
        for name in self.users:
            home = self.home(name)
            shown = pulled(home, name)
            received = [each.uid for each in shown if not each.sent]
            sent = [each.uid for each in shown if each.sent]
            assert received == [each.uid for each in messages if each.target == name != each.sender]
            for other in self.users:
                there = [each.uid for each in messages if (each.sender, each.target) == (name, other)]
                assert [uid for uid in sent if self.stored[uid][0].target == other] == there
            assert len(sent) == sum(each.sender == name for each in messages)
            assert all(each.time == self.stored[each.uid][1] for each in shown)
            self.check_belongings(name, home)

    def check_belongings(self, name: str, home: str) -> None:
        number = slot("1", name)
        for each in self.names:
            cursors = log.of(each).read("SELECT time FROM messaging_devicecursor WHERE slot = %s", (number,))
            sql = "SELECT blocked FROM accounts_blockentry WHERE slot = %s"
            blocked = log.of(each).read(sql, (number,))
            gaps = log.of(each).read("SELECT 1 FROM messaging_exchangegap WHERE slot = %s", (number,))
            assert gaps == []
            if each == home:
                assert cursors == ([(self.cursors[name],)] if name in self.cursors else [])
                assert {other for (other,) in blocked} == self.blocked[name]
            else:
                assert (cursors, blocked, messages_of(each, number)) == ([], [], 0)


def bits(server_set: str) -> bytes:
    slots: bytes = log.of(server_set).read("SELECT slots FROM messaging_head", ())[0][0]
    return slots


def messages_of(server_set: str, number: int) -> int:
    """How many messages a SET has in the boxes of a slot; not those that another SET is still to read."""
    sql = """SELECT count(*) FROM messaging_message
             WHERE target_slot = %(slot)s AND inbox AND NOT export OR sender_slot = %(slot)s AND sendbox"""
    return int(log.of(server_set).read(sql, {"slot": number})[0][0])


def begin(number: int, destination: str) -> SlotMove:
    held = Slot.objects.get(number=number)
    to = ServerSet.objects.get(name=destination)
    return SlotMove.objects.create(
        cluster=held.cluster, number=number, source=held.server_set, destination=to
    )


def crash(move: SlotMove) -> None:
    """Do a step's work, and die before its progress is noted."""
    try:
        with transaction.atomic():
            slot_moves._WORK[Step(move.step)](move)
            raise Crash
    except Crash:
        pass


def finish_moves() -> None:
    while moves := list(SlotMove.objects.exclude(step__in=slot_moves.OVER)):
        for move in moves:
            assert slot_moves.step(move.pk).problem == ""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves take many small steps."""
    monkeypatch.setattr(slot_moves, "SETTLE", 0)
    monkeypatch.setattr(slot_moves, "SCANNED", 7)
    monkeypatch.setattr(slot_moves, "CLOSE", 3)
    monkeypatch.setattr(slot_moves, "BUDGET", 0.001)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_in_whatever_order_everybody_has_everything_once(
    seed: int, three: list[str], hasty: None
) -> None:
    world = World(three, seed)
    for _ in range(3):
        world.go(100)
        world.check()


def move(name: str, destination: str) -> None:
    """Move the user's slot, from the first step to the last."""
    begin(slot("1", name), destination)
    finish_moves()
    topology.renew()


def received(server_set: str, name: str) -> list[str]:
    return [each.uid for each in pulled(server_set, name) if not each.sent]


def sent(server_set: str, name: str) -> list[str]:
    return [each.uid for each in pulled(server_set, name) if each.sent]


def home(name: str) -> str:
    return topology.current.home(1, name)


def say(sender: str, target: str, number: int = 1) -> list[str]:
    """Messages at the target's SET; their uids."""
    entries = [entry(sender, target) for _ in range(number)]
    log.of(home(target)).append(entries, within=1)
    return [each.uid for each in entries]


@pytest.fixture
def at_once(sets: dict[str, Log], redis_client: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to be waited for before the source is cleaned."""
    monkeypatch.setattr(slot_moves, "SETTLE", 0)


ALICE, CAROL = users("set1", 2)
BOB, DAVE = users("set2", 2)


@pytest.mark.parametrize("died_in", ["copy", "catch up", "switch", "clean"])
def test_a_step_whose_process_died_is_done_again_by_the_next_one(died_in: str, at_once: None) -> None:
    uids = say(CAROL, ALICE, 20) + say(BOB, ALICE, 20)
    own = say(ALICE, CAROL, 5) + say(ALICE, BOB, 5)
    exchange.run("set1")
    exchange.run("set2")
    on_its_way = begin(slot("1", ALICE), "set2")
    while on_its_way.step != died_in:
        on_its_way = slot_moves.step(on_its_way.pk)
    for _ in range(3):
        crash(SlotMove.objects.select_related("source", "destination").get())
    finish_moves()
    topology.renew()
    exchange.run("set2")
    uids += say(CAROL, ALICE)
    assert received("set2", ALICE) == uids
    assert sorted(sent("set2", ALICE)) == sorted(own)
    assert sent("set1", CAROL)[:20] == uids[:20]
    assert received("set1", CAROL) == own[:5]


def test_a_slot_that_goes_there_and_back_twenty_times_loses_nothing(at_once: None) -> None:
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for destination in ("set2", "set1") * 20:
        for pair in ((CAROL, ALICE), (BOB, ALICE), (ALICE, CAROL), (ALICE, BOB)):
            said[pair] += say(*pair)
        move(ALICE, destination)
    exchange.run("set1")
    exchange.run("set2")
    for (sender, target), uids in said.items():
        for box in (received(home(target), target), sent(home(sender), sender)):
            assert [uid for uid in box if uid in uids] == uids
    assert len(received("set1", ALICE)) == len(sent("set1", ALICE)) == 80
    assert messages_of("set2", slot("1", ALICE)) == 0


def test_a_long_history_is_copied_page_by_page(at_once: None) -> None:
    uids = [uid for _ in range(5) for uid in say(CAROL, ALICE, slot_moves.PAGE // 2)]
    say(ALICE, CAROL, 10)
    move(ALICE, "set2")
    assert received("set2", ALICE) == uids
    seqs = log.of("set2").read("SELECT seq, uid FROM messaging_message WHERE inbox ORDER BY seq", ())
    assert [uid for _, uid in seqs] == uids


def test_between_the_two_sets_nobody_takes_a_message_and_then_the_new_one_does(at_once: None) -> None:
    on_its_way = begin(slot("1", ALICE), "set2")
    while on_its_way.step != Step.SWITCH:
        on_its_way = slot_moves.step(on_its_way.pk)
    waits = entry(CAROL, ALICE)
    for name in ("set1", "set2"):
        with pytest.raises(Elsewhere):
            log.of(name).append([waits], within=1)
    finish_moves()
    with pytest.raises(Elsewhere):
        log.of("set1").append([waits], within=1)
    log.of("set2").append([waits], within=1)
    assert received("set2", ALICE) == [waits.uid]


def test_the_source_keeps_everything_until_everybody_knows_the_way(
    sets: dict[str, Log], redis_client: object
) -> None:
    uids = say(CAROL, ALICE, 3)
    on_its_way = begin(slot("1", ALICE), "set2")
    while on_its_way.step != Step.CLEAN:
        on_its_way = slot_moves.step(on_its_way.pk)
    assert slot_moves.step(on_its_way.pk).step == Step.CLEAN
    assert received("set2", ALICE) == uids
    assert messages_of("set1", slot("1", ALICE)) == len(uids)
    wanted = im.SyncRequestMsg(ispolling=False, syncTime=0).SerializeToString()
    assert pull("set1", Request(1, ALICE, "pullMsg", ALICE, wanted)).status == ELSEWHERE


def test_times_go_on_rising_where_the_clock_is_behind(at_once: None) -> None:
    ahead = time.time_ns() // 1_000_000 + 30_000  # ms
    log.of("set1").append([entry(CAROL, ALICE, seen=ahead)], within=1)
    move(ALICE, "set2")
    say(CAROL, ALICE)
    first, second = pulled("set2", ALICE)
    assert ahead < first.time < second.time


def test_what_no_set_has_read_yet_is_read_after_the_senders_move(at_once: None) -> None:
    (there,) = say(BOB, ALICE)  # set2 has never read a log
    move(BOB, "set1")
    assert sent("set1", BOB) == [there]


def test_what_the_senders_set_has_not_read_yet_is_read_after_the_receivers_move(at_once: None) -> None:
    uids = say(BOB, ALICE, 3)
    move(ALICE, "set2")
    uids += say(BOB, ALICE)
    exchange.run("set2")
    assert sent("set2", BOB) == received("set2", ALICE) == uids
    move(BOB, "set1")
    exchange.run("set1")
    assert sent("set1", BOB) == uids


def test_cursors_and_block_lists_go_with_their_user_and_come_back_newer(at_once: None) -> None:
    number = slot("1", ALICE)

    def acknowledge(server_set: str, at: int) -> None:
        moved = msgpack.packb([[1, ALICE, "Web", at], [1, CAROL, "Web", at]])
        move_cursors(server_set, Request(0, "", "ackCursor", "cursors", moved))

    def block(server_set: str, change: str) -> None:
        log.of(server_set).run(lambda c: c.execute(change, (number,)), within=1)

    acknowledge("set1", 100)
    block(
        "set1", "INSERT INTO accounts_blockentry (tenant_id, owner, slot, blocked) VALUES (1, 'a', %s, 'b')"
    )
    move(ALICE, "set2")
    acknowledge("set1", 101)  # by a gateway that had not heard of the move
    acknowledge("set2", 200)
    block("set2", "UPDATE accounts_blockentry SET blocked = 'c' WHERE slot = %s")
    move(ALICE, "set1")
    cursors = 'SELECT "user", time FROM messaging_devicecursor ORDER BY time'
    assert log.of("set1").read(cursors, ()) == [(CAROL, 101), (ALICE, 200)]
    assert log.of("set1").read("SELECT blocked FROM accounts_blockentry", ()) == [("c",)]
    assert log.of("set2").read("SELECT blocked FROM accounts_blockentry", ()) == []


def test_gateways_show_nothing_again_and_miss_no_row_of_the_log(at_once: None) -> None:
    say(CAROL, ALICE, 3)
    say(ALICE, CAROL, 3)
    move(ALICE, "set2")
    (new,) = say(CAROL, ALICE)
    feed = Hint.unpack(read_feed("set2", Request(0, "", "readFeed", "set2", msgpack.packb(0))).payload)
    assert [row.uid for row in feed.rows if row.to or row.sync] == [new]
    assert len(feed.rows) == 7
    assert feed.upto == feed.rows[-1].seq == 7


def test_a_move_that_was_taken_back_leaves_nothing_that_harms_the_next_one(at_once: None) -> None:
    uids = say(CAROL, ALICE, 5)
    slot_moves._copy(begin(slot("1", ALICE), "set2"))  # and does not come to say so
    assert cancel() == [slot("1", ALICE)]
    uids += say(CAROL, ALICE)
    assert received("set1", ALICE) == uids
    move(ALICE, "set2")
    assert received("set2", ALICE) == uids
    assert messages_of("set1", slot("1", ALICE)) == 0


def test_a_move_waits_for_a_database_that_is_away_and_says_so(
    at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_moves, "WITHIN", 0.1)
    uids = say(CAROL, ALICE)
    waits = begin(slot("1", ALICE), "set2")
    for expected in (Step.COPY, Step.CATCH_UP, Step.SWITCH):
        with away("set2"):
            stuck = slot_moves.step(waits.pk)
        assert (stuck.step, "not currently accepting connections" in stuck.problem) == (expected, True)
        slot_moves.step(waits.pk)
    finish_moves()
    assert received("set2", ALICE) == uids


def test_a_new_clusters_slots_are_handed_out_once(at_once: None) -> None:
    for name, parity in (("set1", 0), ("set2", 1)):
        assert [n for n in range(SLOTS) if owns(bits(name), n)] == list(range(parity, SLOTS, 2))
    Slot.objects.update(server_set=ServerSet.objects.get(name="set1"))
    slot_moves.hand_out()
    assert owns(bits("set2"), 1) and not owns(bits("set1"), 1)
