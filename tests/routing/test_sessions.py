"""What a connection is shown, and when: the rules of PROTOCOL 6.2, 6.3, 3.6 and 6.10."""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from apps.accounts.directory import NO_RESTRICTION, Directory, Restriction
from apps.accounts.snapshot import Renewed
from apps.routing import topology
from apps.routing.envelope import Answer, Row, first_seq
from apps.routing.hub import MENDED, Hub
from apps.routing.lanes import Lanes
from apps.routing.placement import SLOTS
from apps.routing.protocol import packets
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.packets import Disconnect, DisconnectStatus, PubAck, Publish
from apps.routing.protocol.uid import UidIssuer
from apps.routing.sessions import WINDOW, Connection
from apps.routing.topology import Snapshot

NOTHING = Snapshot(0, {}, {}, (), frozenset(), frozenset())
UP = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b'{"content":"x"}').SerializeToString()


class Client:
    """The other end of a connection: what was written to it, as packets."""

    def __init__(self, hub: Hub, user: str, **facts: Any) -> None:
        self.packets: list[Any] = []
        self.closed = False
        self.connection = Connection(
            id=f"c{len(hub.connections)}", tenant=1, app_key="k", user=user, home="set1", send=self._take
        )
        self.connection.generation = 4
        for name, value in facts.items():
            setattr(self.connection, name, value)
        hub.add(self.connection)

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            self.closed = True
        else:
            self.packets.append(packets.decode_downstream(message["bytes"]))

    def pull(self, position: int, *, during: Callable[[], None] | None = None, finished: bool = True) -> None:
        self.connection.pulls += 1
        if during:
            during()
        answer = Answer(0, 0, 0, b"", position, 1000 + position, finished)
        self.connection.pull_answered(1, answer, self.connection.home)

    def topics(self) -> list[str]:
        return [packet.topic for packet in self.packets if isinstance(packet, Publish)]

    def acknowledge(self) -> None:
        for packet in self.packets:
            if isinstance(packet, Publish) and packet.qos and not packet.dup:
                self.connection.confirm(packet.message_id)


@pytest.fixture
async def hub() -> Hub:
    return Hub(Lanes("gateway-1", UidIssuer(1), asyncio.get_running_loop(), lambda *_: None, NOTHING))


def row(seq: int, sender: str = "alice", target: str = "bob") -> Row:
    return Row(seq, f"uid{seq}", 1000 + seq, 1000 + seq, 1, 1, sender, target, (target,), True, "ppMsgP", UP)


async def test_a_recall_is_shown_to_the_users_other_devices_as_sent_to_himself(hub: Hub) -> None:
    phone, bob = Client(hub, "alice", platform="Phone"), Client(hub, "bob")
    for client in (phone, bob):
        client.pull(0)
    hub.apply("set1", row(1)._replace(method="recallMsg"))
    copy, ack = phone.packets
    assert (copy.topic, copy.target, copy.dup) == ("recallMsg", "alice", True)
    assert (ack.message_id, ack.uid) == (copy.message_id, "uid1")
    assert bob.topics() == ["s_msg"]


async def test_a_time_of_reading_is_shown_to_devices_that_know_what_it_is(hub: Hub) -> None:
    devices = [Client(hub, "alice", platform=f"P{n}", generation=n) for n in (2, 4, 5)]
    for client in devices:
        client.pull(0)
    hub.apply("set1", row(1, target="alice")._replace(method="updRTime", kind=-4, to=()))
    assert [client.topics() for client in devices] == [[], [], ["updRTime"]]


async def test_nothing_is_pushed_before_the_first_pull_is_finished_and_one_notice_follows_it(
    hub: Hub,
) -> None:
    bob = Client(hub, "bob")
    hub.apply("set1", row(5))
    assert bob.packets == []
    bob.pull(4)
    assert bob.topics() == ["s_ntf"]
    hub.apply("set1", row(6))
    assert bob.topics() == ["s_ntf"]


async def test_a_row_that_the_pull_held_is_not_shown_again(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(5, during=lambda: hub.apply("set1", row(5)))
    hub.apply("set1", row(5))
    assert bob.packets == []


async def test_after_a_finished_pull_messages_are_pushed_in_order(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(0)
    for seq in (1, 2, 3):
        hub.apply("set1", row(seq))
    assert bob.topics() == ["s_msg"] * 3
    assert [packet.message_id for packet in bob.packets] == [65535, 65534, 65533]


async def test_another_tenants_user_of_the_same_name_is_shown_nothing(hub: Hub) -> None:
    stranger = Client(hub, "bob", tenant=2)
    stranger.pull(0)
    hub.apply("set1", row(1))
    assert stranger.packets == []


async def test_behind_the_row_that_gives_a_slot_up_its_users_are_shown_nothing(hub: Hub) -> None:
    bob, carol, away = (
        Client(hub, "bob"),
        Client(hub, "carol"),
        Client(hub, "bob", home="set2", platform="Phone"),
    )
    for client in (bob, carol, away):
        client.pull(0)
    to_all = row(1, sender="news", target="")._replace(kind=6, to=())
    gone = row(2)._replace(kind=-5, to=(), sync=False, method=str(topology.slot("1", "bob")))
    for each in (to_all, gone, to_all._replace(seq=3)):
        hub.apply("set1", each)
    assert [client.topics() for client in (bob, carol, away)] == [["s_msg", "s_ntf"], ["s_msg"] * 2, []]


async def test_a_full_window_turns_pushes_into_one_notice_when_all_is_acknowledged(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(0)
    for seq in range(1, WINDOW + 10):
        hub.apply("set1", row(seq))
    assert bob.topics() == ["s_msg"] * WINDOW
    bob.acknowledge()
    assert bob.topics()[WINDOW:] == ["s_ntf"]
    hub.apply("set1", row(WINDOW + 10))
    bob.pull(WINDOW + 10)
    hub.apply("set1", row(WINDOW + 11))
    assert bob.topics()[WINDOW:] == ["s_ntf", "s_msg"]


async def test_v2_is_told_to_go_on_after_an_unfinished_pull(hub: Hub) -> None:
    old, new = Client(hub, "bob", generation=2), Client(hub, "carol")
    old.pull(3, finished=False)
    new.pull(3, finished=False)
    assert old.topics() == ["s_ntf"]
    assert new.topics() == []


async def test_what_one_device_sends_is_synced_to_the_users_others_with_its_time_and_uid(hub: Hub) -> None:
    phone, web = Client(hub, "alice", platform="Android"), Client(hub, "alice")
    phone.pull(0)
    web.pull(0)
    hub.apply("set1", row(1)._replace(time=1_700_000_000_123, sent=1_700_000_000_123))
    copy, ack = phone.packets
    assert (copy.topic, copy.target, copy.dup, copy.payload) == ("ppMsgP", "bob", True, UP)
    assert ack == PubAck(copy.message_id, 1_700_000_000_123, 0, "uid1")


async def test_a_second_login_of_a_class_ends_the_first_and_leaves_other_classes(hub: Hub) -> None:
    first, phone = Client(hub, "bob"), Client(hub, "bob", platform="Android")
    Client(hub, "bob")
    assert [packet.status for packet in first.packets] == [DisconnectStatus.OTHER_DEVICE]
    assert isinstance(first.packets[0], Disconnect)
    assert phone.packets == []


async def test_the_same_page_coming_back_replaces_its_old_socket_without_a_word(hub: Hub) -> None:
    first = Client(hub, "bob", device="page")
    Client(hub, "bob", device="page")
    await asyncio.sleep(0)
    assert first.closed
    assert first.packets == []


async def test_what_is_not_acknowledged_is_announced_once_it_is_due_and_then_less_often(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(0)
    hub.apply("set1", row(1))
    assert not bob.connection.compensate()
    bob.connection.backoff = 0.0
    assert bob.connection.compensate()
    assert bob.topics() == ["s_msg", "s_ntf"]
    hub.apply("set1", row(2))
    assert bob.topics() == ["s_msg", "s_ntf"]


async def test_an_acknowledged_device_has_a_cursor_and_one_that_is_behind_keeps_its_old_one(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(0)
    bob.connection.confirm_query(1)
    hub.apply("set1", row(1))
    hub.apply("set1", row(2))
    assert hub.take_cursors() == {"set1": [(1, "bob", "Web", 1000)]}
    bob.acknowledge()
    assert hub.take_cursors() == {"set1": [(1, "bob", "Web", 1002)]}


async def test_what_a_device_sends_does_not_move_its_cursor_past_what_was_kept_from_it(hub: Hub) -> None:
    bob = Client(hub, "bob", generation=5)
    bob.pull(0)
    bob.connection.confirm_query(1)
    bob.connection.pulls += 1
    hub.apply("set1", row(1))
    bob.connection.seen = 9_000  # the time of its own message, acknowledged meanwhile
    assert bob.connection.cursor() == 1000
    bob.connection.pull_answered(1, Answer(0, 0, 0, b"", 0, 0, True), "set1")
    assert bob.connection.cursor() == 1000


async def test_a_server_with_back_pressure_gets_every_frame_in_order() -> None:
    written: list[int] = []
    open_gate = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        await open_gate.wait()
        written.append(packets.decode_downstream(message["bytes"]).status)  # type: ignore[union-attr]

    slow = Connection(id="c", tenant=1, app_key="k", user="u", home="set1", send=send)
    for status in range(5):
        slow.write(packets.encode_puback(1, 0, status, ""))
    assert written == []
    open_gate.set()
    await asyncio.sleep(0.01)
    slow.write(packets.encode_puback(1, 0, 5, ""))
    await asyncio.sleep(0.01)
    assert written == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError])
async def test_a_socket_that_has_ended_keeps_nothing_from_the_others(
    hub: Hub, error: type[Exception]
) -> None:
    async def raising(message: dict[str, Any]) -> None:
        raise error

    gone, here = Client(hub, "bob", platform="Web"), Client(hub, "bob", platform="Phone")
    for client in (gone, here):
        client.pull(0)
    gone.connection.send = raising
    hub.apply("set1", row(1))
    assert (gone.topics(), here.topics()) == ([], ["s_msg"])
    hub.apply("set1", row(2))
    assert here.topics() == ["s_msg", "s_msg"]
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    here.connection.send = raising
    here.connection.close()
    await asyncio.sleep(0.01)
    gc.collect()  # a task's error is reported as it goes
    assert not reported


async def test_a_row_of_another_sets_log_is_not_shown_and_a_copy_of_ones_own_message_neither(
    hub: Hub,
) -> None:
    alice, bob = Client(hub, "alice", home="set2"), Client(hub, "bob")
    other = Client(hub, "alice", home="set2", platform="PC")
    for client in (alice, bob, other):
        client.pull(0)
    hub.apply("set2", row(1))
    assert bob.topics() == []
    assert other.topics() == ["ppMsgP"]
    alice.connection.sent_elsewhere("uid7")
    hub.apply("set2", row(7))
    assert alice.topics() == ["ppMsgP"]  # the first one: this device did not send it
    assert other.topics() == ["ppMsgP"] * 2


async def test_a_message_whose_time_is_not_its_inboxs_is_announced_not_pushed(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(0)
    hub.apply("set1", row(1)._replace(sent=900))
    assert bob.topics() == ["s_ntf"]
    bob.pull(1)
    hub.apply("set1", row(2))
    assert bob.topics() == ["s_ntf", "s_msg"]


async def test_who_moves_to_another_set_pulls_there_even_if_a_pull_of_before_is_answered_late(
    hub: Hub,
) -> None:
    bob = Client(hub, "bob")
    bob.pull(3)
    bob.connection.pulls += 1
    bob.connection.move("set2", 50)
    bob.connection.pull_answered(2, Answer(0, 0, 0, b"", 4, 1004), "set1")
    assert bob.topics() == ["s_ntf"]
    hub.apply("set2", row(51))
    assert bob.topics() == ["s_ntf"]
    bob.connection.pulls += 1
    bob.connection.pull_answered(3, Answer(0, 0, 0, b"", 51, 1051), "set2")
    hub.apply("set2", row(52))
    assert bob.topics() == ["s_ntf", "s_msg"]


async def test_who_moves_is_told_to_pull_and_takes_along_what_was_acknowledged(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "directory", Renewed("directory", lambda _: Directory()))
    bob, carol = Client(hub, "bob"), Client(hub, "carol", home="set2")
    for client in (bob, carol):
        client.pull(0)
        client.connection.confirm_query(1)
    hub.apply("set1", row(1))
    bob.acknowledge()
    assert hub.take_cursors() == {"set1": [(1, "bob", "Web", 1001)]}
    hub.rehome(replace(NOTHING, clusters={"main": ("set2",) * SLOTS}), {"set2": 50})
    assert hub.take_cursors() == {"set2": [(1, "bob", "Web", 1001)]}  # it may have come to set1 too late
    hub.apply("set1", row(2))
    hub.apply("set2", row(51))
    assert bob.topics() == ["s_msg", "s_ntf"]
    bob.pull(51)
    hub.apply("set2", row(52))
    assert bob.topics() == ["s_msg", "s_ntf", "s_msg"]
    assert carol.topics() == []


async def test_members_are_shown_their_groups_messages_and_whoever_comes_or_goes_from_then_on(
    hub: Hub,
) -> None:
    bob, carol = Client(hub, "bob"), Client(hub, "carol")
    bob.pull(0)
    hub.learn_groups(bob.connection, Answer(0, 0, groups=("g",), groups_at=0))
    carol.pull(0)
    hub.learn_groups(carol.connection, Answer(0, 0, groups=(), groups_at=0))
    message = row(1, target="g")._replace(kind=3, to=())
    hub.apply("set1", message)
    hub.apply("set1", row(2, target="g")._replace(kind=-3, to=("carol",), method="join", sync=False))
    hub.apply("set1", message._replace(seq=3, uid="uid3"))
    hub.apply("set1", row(4, target="g")._replace(kind=-3, to=("bob",), method="quit", sync=False))
    hub.apply("set1", message._replace(seq=5, uid="uid5"))
    assert bob.topics() == ["s_msg"] * 2
    assert carol.topics() == ["s_msg"] * 2


async def test_a_change_that_overtakes_the_pull_that_tells_the_groups_is_not_forgotten(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.connection.pulls += 1
    hub.apply("set1", row(5, target="g")._replace(kind=-3, to=("bob",), method="join", sync=False))
    hub.apply("set1", row(6, target="g")._replace(kind=3, to=()))
    answer = Answer(0, 0, 0, b"", 4, 1004, groups=(), groups_at=4)
    hub.learn_groups(bob.connection, answer)
    bob.connection.pull_answered(1, answer, "set1")
    assert bob.topics() == ["s_ntf"]
    assert hub.groups == {(1, "g"): {bob.connection}}


async def test_who_is_shut_out_is_told_why_as_far_as_his_sdk_knows_it(hub: Hub) -> None:
    async def told(restriction: Restriction) -> list[int | None]:
        clients = [
            Client(hub, "alice", platform=f"P{n}{issued}", generation=n, issued=issued)
            for n, issued in ((2, 5), (4, 5), (5, 5), (5, 6))
        ]
        mallory = Client(hub, "mallory")
        hub.expel(lambda tenant, user: restriction if (tenant, user) == (1, "alice") else NO_RESTRICTION)
        await asyncio.sleep(0)
        assert mallory.packets == []
        for client in (*clients, mallory):
            hub.remove(client.connection)
        return [client.packets[0].status if client.packets else None for client in clients]

    blocked, cancelled = DisconnectStatus.USER_BLOCKED, DisconnectStatus.ACCOUNT_CANCELLED
    closed, expired = DisconnectStatus.CLOSED_BY_SERVER, DisconnectStatus.TOKEN_EXPIRED
    assert await told(Restriction(deactivated=True)) == [blocked, blocked, cancelled, cancelled]
    assert await told(Restriction(blocked_until_ms=1 << 53)) == [blocked] * 4
    assert await told(Restriction(deleted_ms=5)) == [closed, closed, expired, None]
    assert await told(Restriction(tokens_valid_after_ms=1 << 53, blocked_until_ms=1)) == [None] * 4


async def test_when_another_database_is_the_primary_devices_pull_and_say_whose_log_they_have(
    hub: Hub,
) -> None:
    first = first_seq(2)
    bob, new = Client(hub, "bob"), Client(hub, "new")
    bob.pull(7)
    hub.new_epoch("set1", 2)
    assert bob.topics() == ["s_ntf"]
    assert (bob.connection.from_old_log, new.connection.from_old_log) == (True, False)
    bob.pull(9)  # a node that has not heard of it answered from the old log
    assert bob.topics() == ["s_ntf", "s_ntf"]
    assert bob.connection.from_old_log
    bob.pull(first + 1)
    assert not bob.connection.from_old_log
    hub.apply("set1", row(first + 2))
    assert bob.topics() == ["s_ntf", "s_ntf", "s_msg"]


async def test_who_moves_to_a_set_whose_log_is_in_its_first_epoch_is_shown_it(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(7)
    hub.new_epoch("set1", 3)
    bob.pull(first_seq(3) + 1)
    bob.connection.move("set2", 5)
    assert bob.topics() == ["s_ntf", "s_ntf"]
    bob.pull(6)
    hub.apply("set2", row(7))
    assert bob.topics() == ["s_ntf", "s_ntf", "s_msg"]


async def test_what_came_from_an_old_primary_is_pulled(hub: Hub) -> None:
    bob = Client(hub, "bob")
    bob.pull(7)
    hub.apply("set1", row(8)._replace(kind=MENDED))
    assert bob.topics() == ["s_ntf"]
