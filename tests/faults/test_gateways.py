"""Three gateways: clients spread over them, one is killed, one is drained; kicks and presence go across."""

import asyncio
import os
import secrets
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from apps.routing.protocol.packets import ConnStatus, DisconnectStatus
from bench.client import Client, websocket_url
from bench.navigation import asked
from bench.stack import Stack, running
from bench.tokens import App
from bench.traffic import Traffic

pytestmark = pytest.mark.faults

CLIENTS = 24  # whatever their names are, hardly ever has one of three gateways none of them
BACK_SECONDS = 20.0  # a few on an idle machine; a client tries again every 5 s
FOLLOWED_SECONDS = 20.0  # a gateway is silent, or was started again: navigation knows
SETTLE_SECONDS = 15.0
LOOK_SECONDS = 0.1
NAMES = ("gateway", "gateway-2", "gateway-3")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running server with three gateways."""
    with running(tmp_path_factory.mktemp("gateways") / "var", GATEWAYS="3") as started:
        yield started


@pytest.fixture
def app(three: Stack) -> App:
    described = three.describe()
    return App(described["url"], described["app_key"], described["app_secret"])


def gateways(stack: Stack) -> dict[str, str]:
    return dict(stack.describe()["gateways"])


def traffic_on(stack: Stack, app: App) -> Traffic:
    """CLIENTS with 60 messages/s among them, each at the gateway that navigation says."""
    return Traffic(app, users=CLIENTS, rate=60, navigators=[*gateways(stack).values()])


def gone(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as looking:
        return looking.connect_ex(("127.0.0.1", port)) != 0


async def client_at(stack: Stack, app: App, name: str, user: str = "late") -> Client:
    """A client that goes to this gateway, whatever navigation says."""
    token = (await asyncio.to_thread(app.tokens, [user]))[user]
    url = websocket_url(gateways(stack)[name], app.key, token)
    client = Client(url, user, lambda *_: None, lambda _: None)
    client.start()
    return client


def where(clients: list[Client]) -> Counter[str]:
    """Access point -> clients that are ready there; a session is named for it."""
    return Counter(client.session.rpartition(".")[0] for client in clients if client.ready.is_set())


async def until(condition: Any, seconds: float, failure: str, traffic: Traffic | None = None) -> float:
    """The seconds that it took; AssertionError when it took more, with how the traffic is then."""
    began = time.monotonic()
    while not condition():
        its = f"{traffic.describe()}, {where(traffic.clients)}" if traffic else ""
        assert time.monotonic() - began < seconds, f"{failure} {its}"
        await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def test_a_user_has_one_web_connection_on_all_gateways_together(three: Stack, app: App) -> None:
    async def scenario() -> None:
        user = f"alice-{secrets.token_hex(4)}"
        first = await client_at(three, app, NAMES[0], user)
        await until(first.ready.is_set, BACK_SECONDS, "not connected")
        assert where([first]).keys() == {NAMES[0]}  # now: when the second is ready, it may have been kicked
        second = await client_at(three, app, NAMES[1], user)
        await until(second.ready.is_set, BACK_SECONDS, "not connected")
        assert where([second]).keys() == {NAMES[1]}
        await until(lambda: first.refused, BACK_SECONDS, "not kicked")
        assert first.refused == DisconnectStatus.OTHER_DEVICE and second.online

        def listed() -> list[str]:
            lines = three.manage("sessions", "list", user, "--app-key", app.key).splitlines()
            return [line.split()[0] for line in lines]

        # Its socket lingers for the last packet, and presence follows the socket.
        give_up_at = time.monotonic() + BACK_SECONDS
        while (sessions := await asyncio.to_thread(listed)) != [second.session]:
            assert time.monotonic() < give_up_at, sessions
        await first.stop()
        await second.stop()

    asyncio.run(scenario())


def test_clients_of_a_killed_gateway_are_back_through_navigation_and_nothing_is_lost(
    three: Stack, app: App
) -> None:
    async def scenario() -> None:
        async with traffic_on(three, app) as traffic:
            await traffic.flows(within=BACK_SECONDS)
            spread = where(traffic.clients)
            assert set(spread) == set(NAMES), spread
            victims = [client for client in traffic.clients if client.session.startswith("gateway-2.")]
            lost = {client.session for client in victims}
            os.kill(three.describe()["pids"]["gateway-2"], signal.SIGKILL)
            back = await until(
                lambda: all(client.ready.is_set() and client.session not in lost for client in victims),
                BACK_SECONDS,
                f"not all of {len(victims)} clients are back:",
                traffic,
            )
            await traffic.flows(within=BACK_SECONDS)
            verdict = await traffic.settle(SETTLE_SECONDS)
            print(f"{len(victims)} of {sum(spread.values())} clients back after {back:.1f} s; {verdict}")
            assert verdict.faults == {}, traffic.describe()
            assert verdict.delivered == verdict.acknowledged > 0

    asyncio.run(scenario())


def test_a_draining_gateway_is_emptied_while_its_clients_chat(three: Stack, app: App) -> None:
    async def scenario() -> None:
        async with traffic_on(three, app) as traffic:
            await traffic.flows(within=BACK_SECONDS)
            before = where(traffic.clients)[NAMES[2]]
            assert before > 0
            drained = await asyncio.to_thread(three.manage, "accesspoints", "drain", NAMES[2], "--wait")
            assert drained.splitlines()[-1] == f"{NAMES[2]} is empty"
            await until(
                lambda: sum(where(traffic.clients).values()) == CLIENTS, BACK_SECONDS, "not all:", traffic
            )
            assert where(traffic.clients)[NAMES[2]] == 0
            port = gateways(three)[NAMES[2]].rpartition(":")[2]
            handed_out = await asyncio.to_thread(asked, app.url, app.key, "")
            assert len(handed_out) == 2 and not any(each.endswith(f":{port}") for each in handed_out)
            late = await client_at(three, app, NAMES[2])
            # It is sent elsewhere, or finds nobody: a gateway that has been empty for a while is gone.
            await until(lambda: late.refused or gone(int(port)), BACK_SECONDS, "a gateway that drains stays")
            assert late.refused in (0, ConnStatus.REDIRECT) and not late.ready.is_set()
            verdict = await traffic.settle(SETTLE_SECONDS)
            assert verdict.faults == {}, traffic.describe()
            assert verdict.delivered == verdict.acknowledged > 0
            await asyncio.to_thread(three.manage, "accesspoints", "resume", NAMES[2])
            await until(
                lambda: len(asked(app.url, app.key, "")) == 3, FOLLOWED_SECONDS, "it is not handed out again"
            )

    asyncio.run(scenario())
