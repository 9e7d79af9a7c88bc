"""A gateway whose access point drains: its clients are asked to move, in their SDK's words, some a second."""

import asyncio
from typing import Any

import pytest

from apps.accounts.snapshot import Renewed
from apps.routing import access_points, draining
from apps.routing.access import Point
from apps.routing.addresses import Networks
from apps.routing.draining import Drain
from apps.routing.hub import Hub
from apps.routing.lanes import Lanes
from apps.routing.protocol.packets import DisconnectStatus
from apps.routing.protocol.uid import UidIssuer
from apps.routing.topology import Snapshot
from tests.routing.test_sessions import Client

NOTHING = Snapshot(0, {}, {}, (), frozenset(), frozenset())


@pytest.fixture
async def hub() -> Hub:
    return Hub(Lanes("one.1", UidIssuer(1), asyncio.get_running_loop(), lambda *_: None, NOTHING))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the process know these access points."""

    def tell(state: str, **loads: int) -> None:
        table = access_points.Table((Point("one", state=state), Point("two")), Networks(), ())
        for name, value in (("table", table), ("loads", loads)):
            renewed: Renewed[Any] = Renewed(name, lambda _, value=value: value)  # type: ignore[misc]
            renewed.renew()
            monkeypatch.setattr(access_points, name, renewed)

    return tell


def disconnected(client: Client) -> list[int]:
    return [packet.status for packet in client.packets]


async def test_each_generation_is_asked_in_the_words_that_it_follows(hub: Hub, told: Any) -> None:
    told("draining", two=0)
    v2, v4, v5 = (Client(hub, f"user{n}", generation=n) for n in (2, 4, 5))
    Drain("one", hub).step()
    await asyncio.sleep(0)
    assert v2.closed and v2.packets == []
    assert disconnected(v4) == disconnected(v5) == [DisconnectStatus.REDIRECT]


async def test_no_more_than_so_many_are_asked_at_once_and_nobody_twice(
    hub: Hub, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "MOVED", 2)
    told("draining", two=0)
    clients = [Client(hub, f"user{n}") for n in range(5)]
    clients[0].connection.in_flight = 1
    drain = Drain("one", hub)
    for asked in (2, 4, 5, 5):
        drain.step()
        assert sum(len(client.packets) for client in clients) == asked
        assert len(clients[0].packets) == (asked == 5)


async def test_who_is_taken_out_asks_all_at_once(
    hub: Hub, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "MOVED", 2)
    told("down", two=0)
    clients = [Client(hub, f"user{n}") for n in range(5)]
    Drain("one", hub).step()
    assert [disconnected(client) for client in clients] == [[DisconnectStatus.REDIRECT]] * 5


async def test_clients_stay_where_they_are_when_nobody_else_takes_them(hub: Hub, told: Any) -> None:
    told("draining")
    client = Client(hub, "alice")
    drain = Drain("one", hub)
    drain.step()
    assert client.packets == []
    told("draining", two=0)
    drain.step()
    assert disconnected(client) == [DisconnectStatus.REDIRECT]


async def test_clients_of_an_access_point_that_is_up_or_unknown_are_left_alone(hub: Hub, told: Any) -> None:
    told("up", two=0)
    client = Client(hub, "alice")
    Drain("one", hub).step()
    Drain("three", hub).step()
    assert client.packets == []


async def test_an_empty_gateway_says_so_once(hub: Hub, told: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "apps.routing.draining")
    told("draining", two=0)
    client = Client(hub, "alice")
    drain = Drain("one", hub)
    drain.step()
    hub.remove(client.connection)
    drain.step()
    drain.step()
    told("up", two=0)
    drain.step()
    said = [record.getMessage() for record in caplog.records if record.name == "apps.routing.draining"]
    assert said == [
        "access point one: draining, 1 connections are left",
        "access point one: draining and empty",
        "access point one: up again",
    ]
