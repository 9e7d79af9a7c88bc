"""Chatrooms at a gateway: who is told what, what it answers itself, and what it leaves to a node."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import redis

from apps.accounts.directory import directory
from apps.routing import room_members
from apps.routing.envelope import Answer, Row
from apps.routing.hub import Hub
from apps.routing.lanes import Lanes
from apps.routing.protocol import packets
from apps.routing.protocol.im_pb2 import (
    ChrmDownStreamMessages,
    ChrmPullMsg,
    DownStreamMessage,
    DownStreamMessages,
    NotifyMsg,
    UpStreamMessage,
)
from apps.routing.protocol.packets import Publish, Query
from apps.routing.protocol.uid import UidIssuer
from apps.routing.room_ring import RING_MAX, page_end
from apps.routing.rooms import NOTICES_A_TURN, REMIND, ROOMS_MAX
from apps.routing.sessions import Connection
from apps.routing.topology import Snapshot

JOINED_AT = 1000  # ms: the log's newest time as members join
ROOM = "room"


def snapshot(server_set: str) -> Snapshot:
    """All slots are this SET's."""
    return Snapshot(1, {"main": (server_set,) * 1024}, {}, (), frozenset(), frozenset())


class Asked(NamedTuple):
    packet: Query
    resolve: Callable[[Answer], None]
    joined_at: int


class Client:
    """Both ends of a connection: what was written to its client, and what a node was asked."""

    numbers = 0

    def __init__(self, hub: Hub, user: str, **facts: Any) -> None:
        self.hub = hub
        self.packets: list[Any] = []
        self.replies: list[tuple[int, bytes]] = []
        self.asked: list[Asked] = []
        self.full = False  # the node takes no more
        Client.numbers += 1
        self.connection = Connection(
            id=f"c{Client.numbers}", tenant=1, app_key="k", user=user, home="set1", send=self._take
        )
        self.connection.generation = 4
        self.connection.platform = f"p{Client.numbers}"
        for name, value in facts.items():
            setattr(self.connection, name, value)
        hub.add(self.connection)

    async def _take(self, message: dict[str, Any]) -> None:
        self.packets.append(packets.decode_downstream(message["bytes"]))

    def reply(self, packet: Query, status: int, payload: bytes) -> None:
        self.replies.append((status, payload))

    def submit(self, packet: Query, resolve: Callable[[Answer], None], *, acknowledged: int = 0) -> bool:
        if not self.full:
            self.asked.append(Asked(packet, resolve, acknowledged))
        return not self.full

    def query(self, topic: str, payload: bytes = b"", room: str = ROOM) -> None:
        self.hub.rooms.ask(self, self.connection, Query(topic, room, 1, payload))

    def answer(self, status: int = 0, payload: bytes = b"", *, newest: int = JOINED_AT, **facts: Any) -> None:
        """What the node says to the oldest question."""
        self.asked.pop(0).resolve(Answer(0, status, JOINED_AT, payload, 0, newest, **facts))

    def join(self, room: str = ROOM) -> "Client":
        self.query("joinChrm", room=room)
        self.answer()
        self.replies.clear()
        return self

    def pull(self, since: int, count: int = 0) -> list[str] | None:
        """The texts in the gateway's reply; None when it has asked the node."""
        before = len(self.replies)
        self.query("chrmPull", ChrmPullMsg(syncTime=since, count=count).SerializeToString())
        return texts(self.replies[-1][1]) if len(self.replies) > before else None

    def notices(self, topic: str = "s_ntf") -> list[NotifyMsg]:
        found = [p for p in self.packets if isinstance(p, Publish) and p.topic == topic]
        return [NotifyMsg.FromString(packet.payload) for packet in found]

    @property
    def cursor(self) -> int:
        """syncTime of the newest reply."""
        return DownStreamMessages.FromString(self.replies[-1][1]).syncTime


def texts(payload: bytes) -> list[str]:
    return [each.content.decode() for each in DownStreamMessages.FromString(payload).list]


def row(at: int, content: str = "", *, room: str = ROOM, **facts: Any) -> Row:
    up = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=(content or f"m{at}").encode())
    made = Row(at, f"uid{at}", at, at, 1, 4, "alice", room, (room,), False, "chatMsg", up.SerializeToString())
    return made._replace(**facts)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def quiet(hub: Hub) -> None:
    """Until nobody is owed anything."""
    await until(lambda: not hub.rooms.owing)


@pytest.fixture
def known(databases: None) -> None:
    """There are no tenants: everybody is of the first cluster."""
    directory.renew()


@pytest.fixture
async def hub(known: None) -> Hub:
    loop = asyncio.get_running_loop()
    return Hub(Lanes("gateway-1", UidIssuer(1), loop, lambda name, position, then: then(), snapshot("set1")))


async def test_one_notice_is_out_at_a_time_and_the_pull_that_answers_it_brings_all(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    assert bob.pull(0) == []
    for at in (1001, 1002, 1003):
        hub.apply("set1", row(at))
    await quiet(hub)
    hub.apply("set1", row(1004))
    await quiet(hub)
    assert [(each.type, each.chrmId) for each in bob.notices()] == [(2, ROOM)]
    assert 1003 <= bob.notices()[0].time <= 1004
    assert bob.pull(bob.cursor) == ["m1001", "m1002", "m1003", "m1004"]
    assert bob.cursor == 1004
    assert bob.pull(1004) == []
    hub.apply("set1", row(1005))
    await quiet(hub)
    assert [each.time for each in bob.notices()][1:] == [1005]
    assert bob.asked == []


async def test_nothing_is_announced_before_the_first_pull(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    hub.apply("set1", row(1001))
    await quiet(hub)
    assert bob.notices() == []
    assert bob.pull(0) == ["m1001"]


async def test_a_first_pull_of_what_was_said_before_is_a_nodes_until_the_gateway_has_seen_as_much(
    hub: Hub,
) -> None:
    bob = Client(hub, "bob").join()
    assert bob.pull(0, 2) is None
    assert bob.asked[0].joined_at == JOINED_AT
    bob.answer(payload=page_end(JOINED_AT, 4))
    for at in range(1001, 1005):
        hub.apply("set1", row(at))
    carol = Client(hub, "carol")
    carol.query("joinChrm")
    carol.answer(newest=1004)
    assert carol.pull(0, 2) == ["m1003", "m1004"]
    assert carol.pull(0, 3) == ["m1002", "m1003", "m1004"]
    assert carol.pull(0, 4) is None


async def test_what_comes_while_somebody_joins_is_not_missed(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.query("joinChrm")
    hub.apply("set1", row(1001))
    bob.answer(payload=b"welcome")
    assert bob.replies == [(0, b"welcome")]
    assert bob.pull(0) == ["m1001"]


async def test_a_refused_join_is_no_join(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.query("joinChrmR")
    bob.answer(23410)
    assert bob.replies == [(23410, b"")]
    assert bob.connection.rooms == {}
    bob.full = True
    bob.query("joinChrm")
    hub.apply("set1", row(1001))
    await quiet(hub)
    assert bob.packets == []


async def test_ones_own_messages_come_back_in_no_pull_but_to_the_users_other_devices(hub: Hub) -> None:
    phone, web, bob = (Client(hub, user).join() for user in ("alice", "alice", "bob"))
    for each in (phone, web, bob):
        each.pull(0)
    hub.rooms.show("set1", row(1001), hub._down, phone.connection)
    await quiet(hub)
    assert [len(each.notices()) for each in (phone, web, bob)] == [0, 1, 1]
    hub.rooms.show("set1", row(1002), hub._down, bob.connection)
    await quiet(hub)
    assert [each.pull(JOINED_AT) for each in (phone, web, bob)] == [["m1002"], ["m1001", "m1002"], ["m1001"]]
    assert [each.cursor for each in (phone, web, bob)] == [1002] * 3
    assert phone.pull(1) is None
    page = [
        DownStreamMessage(fromUserId="alice", msgId=f"uid{at}", content=b"x") for at in (1000, 1001, 1002)
    ]
    phone.answer(payload=DownStreamMessages(list=page, syncTime=1002).SerializeToString(), newest=1002)
    shown = DownStreamMessages.FromString(phone.replies[-1][1])
    assert [each.msgId for each in shown.list] == ["uid1000", "uid1002"]
    assert shown.syncTime == 1002


async def test_who_is_further_back_than_the_gateway_remembers_asks_a_node(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    bob.pull(0)
    for at in range(1001, 1001 + 2 * RING_MAX):
        hub.apply("set1", row(at))
    assert bob.pull(1001) is None
    newest = 1000 + 2 * RING_MAX
    assert bob.pull(newest - 1) == [f"m{newest}"]


@pytest.mark.parametrize("shown", [True, False], ids=["shown", "held back"])
async def test_a_recalled_message_is_in_no_page_any_more(shown: bool, hub: Hub) -> None:
    alice = Client(hub, "alice").join()
    for number in range(3):
        hub.apply("set1", row(2000 + number, str(number)))
    assert alice.pull(JOINED_AT) == ["0", "1", "2"]
    recall = row(2003, "recall", gone=row(2001).uid)
    hub.apply("set1", recall if shown else recall._replace(to=()))
    hub.apply("set2", row(2004, gone=row(2000).uid))  # of a log that has nothing of this room
    hub.apply("set1", row(2005, "", room="other", gone=row(2000).uid))
    assert alice.pull(JOINED_AT) == ["0", "2"] + ["recall"] * shown


async def test_after_a_page_that_was_not_the_last_there_is_another_notice(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    assert bob.pull(5) is None
    bob.answer(payload=page_end(7, 4), newest=7, finished=False)
    await quiet(hub)
    assert len(bob.notices()) == 1
    assert bob.pull(7) is None
    bob.answer(payload=page_end(1000, 4))
    await quiet(hub)
    assert len(bob.notices()) == 1


async def test_what_comes_during_a_nodes_pull_is_announced_after_it(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    bob.pull(5)
    hub.apply("set1", row(1001))
    await quiet(hub)
    assert bob.notices() == []
    bob.answer(payload=page_end(1000, 4))
    await quiet(hub)
    assert [each.time for each in bob.notices()] == [1001]


async def test_after_a_gap_in_the_log_everybody_is_told_and_a_node_is_asked(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    bob.pull(0)
    hub.skipped("set2", 5)
    assert bob.pull(JOINED_AT) == []
    hub.skipped("set1", 5)
    await quiet(hub)
    assert len(bob.notices()) == 1
    assert bob.pull(JOINED_AT) is None


async def test_a_room_that_moves_to_another_set_is_followed_there(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    bob.pull(0)
    hub.apply("set2", row(1001))
    await quiet(hub)
    assert bob.notices() == []
    hub.rooms.rehome(snapshot("set2"))
    await quiet(hub)
    assert len(bob.notices()) == 1
    assert bob.pull(JOINED_AT) is None
    bob.answer(payload=page_end(1001, 4), newest=1001)
    hub.apply("set1", row(1002))
    hub.apply("set2", row(1003))
    assert bob.pull(1001) == ["m1003"]


async def test_other_rooms_and_other_tenants_rooms_are_none_of_ones_business(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    bob.pull(0)
    hub.apply("set1", row(1001, room="other"))
    hub.apply("set1", row(1002, tenant=2))
    hub.apply("set1", row(1003, to=()))
    await quiet(hub)
    assert bob.notices() == []
    assert bob.pull(JOINED_AT) == []


async def test_who_has_not_joined_here_is_left_to_the_node(hub: Hub) -> None:
    bob = Client(hub, "bob")
    for topic in ("chrmPull", "pullKV", "exitChrm"):
        bob.query(topic)
        bob.answer(23406)
    assert bob.replies == [(23406, b"")] * 3


async def test_who_leaves_is_told_nothing_more_and_who_could_not_leave_is(hub: Hub) -> None:
    bob, carol = Client(hub, "bob").join(), Client(hub, "carol").join()
    for each, status in ((bob, 0), (carol, 20607)):
        each.pull(0)
        each.query("exitChrm")
        each.answer(status)
    hub.apply("set1", row(1001))
    await quiet(hub)
    assert (bob.notices(), len(carol.notices())) == ([], 1)


async def test_a_connection_that_goes_is_in_no_room(hub: Hub) -> None:
    bob = Client(hub, "bob").join().join("other")
    bob.pull(0)
    hub.remove(bob.connection)
    hub.apply("set1", row(1001))
    await quiet(hub)
    assert bob.connection.rooms == {}
    assert bob.packets == []


async def test_one_that_goes_while_it_joins_is_in_no_room(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.query("joinChrm")
    hub.remove(bob.connection)
    bob.answer()
    assert bob.connection.rooms == {}


async def test_a_connection_is_in_so_many_rooms_at_most(hub: Hub) -> None:
    bob = Client(hub, "bob")
    for number in range(ROOMS_MAX):
        bob.join(f"room{number}")
    bob.query("joinChrm", room="one more")
    assert (bob.replies, bob.asked) == ([(20605, b"")], [])
    bob.join("room0")


async def test_a_destroyed_room_is_announced_by_its_name_and_everybody_is_out(hub: Hub) -> None:
    bob, other = Client(hub, "bob").join(), Client(hub, "carol").join("other")
    hub.rooms.told({"tenant": 1, "room": ROOM, "destroyed": 3})
    (packet,) = bob.packets
    notice = NotifyMsg.FromString(packet.payload)
    assert (packet.topic, packet.target) == ("s_cmd", ROOM)
    assert (notice.type, notice.chrmId, notice.destroyType) == (4, ROOM, 3)
    assert bob.connection.rooms == {}
    assert other.packets == []


async def test_who_joins_while_the_room_is_destroyed_is_in_the_new_one(hub: Hub) -> None:
    alice, bob = Client(hub, "alice").join(), Client(hub, "bob")
    alice.pull(0)
    hub.apply("set1", row(1001, "old"))
    bob.query("joinChrm")
    hub.rooms.told({"tenant": 1, "room": ROOM, "destroyed": 0})
    bob.answer(newest=1001)
    assert bob.pull(0) is None
    bob.answer(payload=page_end(1001, 4), newest=1001)
    hub.apply("set1", row(1002, "new"))
    assert bob.pull(1001) == ["new"]


async def test_users_who_are_put_out_hear_nothing_more(hub: Hub) -> None:
    bob, carol = Client(hub, "bob").join(), Client(hub, "carol").join()
    for each in (bob, carol):
        each.pull(0)
    hub.rooms.told({"tenant": 1, "room": ROOM, "removed": ["bob"]})
    hub.apply("set1", row(1001))
    await quiet(hub)
    assert (bob.notices(), len(carol.notices())) == ([], 1)


async def test_a_change_of_entries_is_announced_with_its_time_to_all_but_its_maker(hub: Hub) -> None:
    bob, carol = Client(hub, "bob").join(), Client(hub, "carol").join()
    hub.rooms.told({"tenant": 1, "room": ROOM, "entries": 1234, "but": bob.connection.id})
    await quiet(hub)
    assert bob.packets == []
    assert [(each.type, each.time, each.chrmId) for each in carol.notices("s_cmd")] == [(2, 1234, ROOM)]


async def test_all_who_ask_for_the_same_entries_are_answered_by_one_question_to_a_node(hub: Hub) -> None:
    bob, carol, dave, erin = (Client(hub, name).join() for name in ("bob", "carol", "dave", "erin"))
    for each in (bob, carol):
        each.query("pullKV", b"since 1")
    dave.query("pullKV", b"since 2")
    assert [len(each.asked) for each in (bob, carol, dave)] == [1, 0, 1]
    bob.answer(payload=b"old")
    erin.query("pullKV", b"since 1")
    assert [each.replies for each in (bob, carol, erin)] == [[(0, b"old")]] * 3
    hub.rooms.told({"tenant": 1, "room": ROOM, "entries": 1234, "but": ""})
    carol.query("pullKV", b"since 1")
    assert len(carol.asked) == 1
    carol.answer(payload=b"new")
    erin.query("pullKV", b"since 1")
    assert erin.replies[-1] == carol.replies[-1] == (0, b"new")


async def test_an_answer_of_before_a_change_serves_nobody_who_asks_after_it(hub: Hub) -> None:
    bob, carol = Client(hub, "bob").join(), Client(hub, "carol").join()
    bob.query("pullKV", b"since 1")
    hub.rooms.told({"tenant": 1, "room": ROOM, "entries": 1234, "but": ""})
    carol.query("pullKV", b"since 1")
    bob.answer(payload=b"old")
    assert carol.replies == []
    carol.answer(payload=b"new")
    assert carol.replies == [(0, b"new")]


async def test_a_failed_question_about_entries_is_asked_again(hub: Hub) -> None:
    bob, carol = Client(hub, "bob").join(), Client(hub, "carol").join()
    for each in (bob, carol):
        each.query("pullKV", b"since 1")
    bob.answer(20607)
    assert bob.replies == carol.replies == [(20607, b"")]
    carol.query("pullKV", b"since 1")
    carol.answer(payload=b"entries")
    assert carol.replies[-1] == (0, b"entries")


async def test_who_does_not_pull_is_reminded(hub: Hub) -> None:
    bob, silent = Client(hub, "bob").join(), Client(hub, "silent").join()
    for each in (bob, silent):
        each.pull(0)
    hub.apply("set1", row(1001))
    await quiet(hub)
    bob.pull(JOINED_AT)
    hub.rooms.every_second(time.monotonic() + REMIND / 2)
    await quiet(hub)
    assert [len(each.notices()) for each in (bob, silent)] == [1, 1]
    hub.rooms.every_second(time.monotonic() + REMIND + 1)
    await quiet(hub)
    assert [len(each.notices()) for each in (bob, silent)] == [1, 2]


async def test_many_members_are_told_one_turn_after_the_other(hub: Hub) -> None:
    members = [Client(hub, f"u{number}").join() for number in range(NOTICES_A_TURN + 50)]
    for each in members:
        each.pull(0)
    hub.apply("set1", row(1001))
    while hub.rooms.owing == len(members):  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert hub.rooms.owing == 50
    await quiet(hub)
    assert all(len(each.notices()) == 1 for each in members)


async def test_each_generation_gets_a_page_that_it_can_read(hub: Hub) -> None:
    clients = [Client(hub, f"v{n}", generation=n).join() for n in (2, 4, 5)]
    for each in clients:
        each.pull(0)
    hub.apply("set1", row(1001, '{"content":"😀"}'))
    pages = [each.pull(JOINED_AT) for each in clients]
    assert pages == [['{"content":"\\ud83d\\ude00"}'], ['{"content":"😀"}'], ['{"content":"😀"}']]
    flags = [ChrmDownStreamMessages.FromString(each.replies[-1][1]).compressioEnabled for each in clients]
    assert flags == [True, True, False]  # to v2 and v4 the same field says: finished


async def test_a_status_message_is_pushed_to_the_others(hub: Hub) -> None:
    alice, bob = Client(hub, "alice").join(), Client(hub, "bob").join()
    for each in (alice, bob):
        each.connection.pulls += 1
        each.connection.pull_answered(1, Answer(0, 0, 0, b"", 0, 1000, True), "set1")
    hub.rooms.show("set1", row(1001, seq=0), hub._down, alice.connection)
    assert alice.packets == []
    (packet,) = bob.packets
    message = DownStreamMessage.FromString(packet.payload)
    assert (packet.topic, packet.qos, message.groupId, message.extStatus) == ("s_msg", 0, ROOM, 0x40)


async def test_what_a_client_claims_to_have_changes_nothing_but_its_own_reply(hub: Hub) -> None:
    liar, bob = Client(hub, "liar").join(), Client(hub, "bob").join()
    bob.pull(0)
    assert liar.pull((1 << 63) - 1) == []
    assert liar.cursor == (1 << 63) - 1
    hub.skipped("set1", 5)
    await quiet(hub)
    assert [len(each.notices()) for each in (liar, bob)] == [1, 1]
    assert liar.notices()[0].time == JOINED_AT + 1
    hub.apply("set1", row(1001))
    assert liar.pull((1 << 63) - 1) is None
    assert bob.pull(-5) is None
    assert liar.connection.closed is False


async def test_a_pull_that_cannot_be_read_is_refused(hub: Hub) -> None:
    bob = Client(hub, "bob").join()
    bob.query("chrmPull", b"\x0a\xff\xff\xff\xff\x0f")
    assert (bob.replies, bob.asked) == ([(33003, b"")], [])


async def test_gateways_tell_redis_of_their_members_again_and_again(
    hub: Hub, redis_client: redis.Redis
) -> None:
    clients = [Client(hub, f"u{number}").join() for number in range(25)]
    names = [each.connection.user for each in clients]

    def announce() -> int:
        with redis_client.pipeline(transaction=False) as pipeline:
            hub.rooms.announce(pipeline)
            pipeline.execute()
        return sum(room_members.are_members(1, ROOM, names))

    counts = [announce() for _ in range(room_members.ANNOUNCED)]
    assert counts[0] in (2, 3) and counts[-1] == 25
    redis_client.flushall()
    hub.rooms.forgotten()
    clients[0].query("exitChrm")
    hub.remove(clients[1].connection)
    assert announce() == 23
    assert room_members.are_members(1, ROOM, names[:3]) == [False, False, True]
    _, ((_, joined),) = room_members.listed(1, ROOM, 1, newest_first=False)
    assert joined == JOINED_AT
    assert room_members.last_active("set1").keys() == {(1, ROOM)}
    assert room_members.gone("set1", 100) == []


async def test_who_is_told_of_before_he_is_forgotten_keeps_his_time(
    hub: Hub, redis_client: redis.Redis
) -> None:
    redis_client.zadd(room_members.members_key(1, ROOM), {"u": 5})
    Client(hub, "u").join()
    hub.rooms.forgotten()
    with redis_client.pipeline(transaction=False) as pipeline:
        hub.rooms.announce(pipeline)
        pipeline.execute()
    assert room_members.listed(1, ROOM, 1, newest_first=False) == (1, [("u", 5)])
