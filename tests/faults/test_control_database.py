"""The control database dies: messages go on, its standby is promoted, and nobody has to be started again."""

import asyncio
import http.client
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest

from bench.client import Client, websocket_url
from bench.load import connect, disconnect, sends_nothing
from bench.stack import MANAGE, ROOT, Stack, environment, running
from bench.tokens import ApiRefused, App
from bench.traffic import Traffic
from imcloud.config import Config
from tests.conftest import wait_for
from tests.processes import TcpPostgres

pytestmark = [pytest.mark.faults, pytest.mark.drills]

AWAY_SECONDS = 15.0
FLOWS_SECONDS = 10.0  # within which messages flow whatever was killed; a client tries again every 5 s
BACK_SECONDS = 10.0
SETTLE_SECONDS = 15.0


class Control(NamedTuple):
    """A stack whose control database is at a primary and its streaming standby, and its SETs elsewhere."""

    stack: Stack
    primary: TcpPostgres
    standby: TcpPostgres
    settings: dict[str, str]

    @property
    def app(self) -> App:
        described = self.stack.describe()
        return App(described["url"], described["app_key"], described["app_secret"])

    def manage(self, *command: str) -> "subprocess.CompletedProcess[str]":
        surroundings = environment(self.stack.data, **self.settings)
        return subprocess.run(
            [*MANAGE, *command], cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=30
        )

    def call(self, path: str, **form: str) -> None:
        """A call of the server API. ApiRefused when it fails."""
        connection = http.client.HTTPConnection(urlsplit(self.app.url).netloc, timeout=30)
        self.app.post(connection, path, **form)
        connection.close()

    def page(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(self.app.url).netloc, timeout=30)
        connection.request("GET", path, headers={"Cookie": f"sessionid={secrets.token_hex(16)}"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text


@pytest.fixture(scope="module")
def control(servers: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    folder = tmp_path_factory.mktemp("c")
    primary, standby = (TcpPostgres(folder / name) for name in ("p", "s"))
    sets = f"postgresql://imcloud@/of_control_{{set}}?host={servers.socket_dir / 'postgres'}"
    with psycopg.connect(sets.format(set="set1"), dbname="postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE of_control_set1")
        admin.execute("CREATE DATABASE of_control_set2")
    hosts = f"{primary.place},{standby.place}"
    url = f"postgresql://imcloud@{hosts}/imcloud?target_session_attrs=read-write"
    settings = {"DATABASE_URL": url, "SET_DATABASE_URL": sets, "NODES": "1"}
    primary.initialise()
    primary.start()
    try:
        primary.run("CREATE DATABASE imcloud")
        standby.follow(primary)
        standby.start()
        with running(folder / "var", **settings) as stack:
            yield Control(stack, primary, standby, settings)
    finally:
        for server in (primary, standby):
            server.stop()


def kill_and_see_replaced(stack: Stack, kind: str) -> None:
    """Kill all workers of a kind: those that take their places begin without the control database."""
    victims = stack.workers(kind)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: len(set(stack.workers(kind)) - set(victims)) >= len(victims), 20, f"no new {kind} workers"
    )


def kill_gateway(stack: Stack) -> None:
    os.kill(int(stack.describe()["pids"]["gateway"]), signal.SIGKILL)


async def can_connect(app: App, user: str, token: str) -> None:
    client = Client(websocket_url(app.url, app.key, token), user, sends_nothing, lambda message: None)
    await connect([client])
    await disconnect([client])


def test_messages_go_on_without_the_control_database_and_all_else_returns_with_its_standby(
    control: Control,
) -> None:
    async def scenario() -> None:
        app, stack = control.app, control.stack
        known = await asyncio.to_thread(app.tokens, ["early", "late"])
        async with Traffic(app, users=16, rate=100) as traffic:
            await traffic.flows(within=FLOWS_SECONDS)
            control.primary.kill()
            away = time.monotonic()
            await asyncio.sleep(2)
            assert not traffic.refusals(away), traffic.describe()
            print(f"longest gap after the kill: {traffic.longest_gap(away):.2f} s")

            await can_connect(app, "late", known["late"])
            await asyncio.to_thread(
                control.call,
                "/message/private/publish.json",
                fromUserId="early",
                toUserId="late",
                objectName="RC:TxtMsg",
                content='{"content":"x"}',
            )
            made = await asyncio.to_thread(control.manage, "createtenant", "another")
            assert made.returncode == 1
            (said,) = made.stderr.splitlines()
            assert said.startswith("imcloud: this command needs a database that does not answer now: ")
            status, text = await asyncio.to_thread(control.page, "/admin/")
            assert (status, text.splitlines()[0][:50]) == (
                503,
                "This page needs a database that does not answer no",
            )
            with pytest.raises(ApiRefused, match="please retry"):
                await asyncio.to_thread(app.tokens, ["nobody knows me"])

            for kind in ("message", "query"):
                await asyncio.to_thread(kill_and_see_replaced, stack, kind)
                print(
                    f"flows {await traffic.flows(within=FLOWS_SECONDS):.1f} s after all {kind} workers died"
                )
            kill_gateway(stack)
            print(f"flows {await traffic.flows(within=2 * FLOWS_SECONDS):.1f} s after the gateway died")
            await can_connect(app, "late", known["late"])
            await asyncio.sleep(max(away + AWAY_SECONDS - time.monotonic(), 0.0))
            await traffic.flows(within=FLOWS_SECONDS)

            control.standby.run("SELECT pg_promote()")
            promoted = time.monotonic()
            await asyncio.to_thread(wait_for, lambda: registers(app), BACK_SECONDS, "no user is registered")
            print(f"users are registered {time.monotonic() - promoted:.1f} s after the promotion")
            made = await asyncio.to_thread(control.manage, "createtenant", "another")
            assert made.returncode == 0, made.stderr
            status, _ = await asyncio.to_thread(control.page, "/admin/")
            assert status == 302  # to the log-in
            blocked = time.monotonic()
            await asyncio.to_thread(control.call, "/user/block.json", userId="late", minute="10")
            await asyncio.to_thread(
                wait_for,
                lambda: not connects(app, known["late"]),
                BACK_SECONDS,
                "the directory is not followed",
            )
            print(f"a block is known after {time.monotonic() - blocked:.1f} s")
            await traffic.flows(within=FLOWS_SECONDS)
            verdict = await traffic.settle(SETTLE_SECONDS)
            print(verdict)
            assert verdict.faults == {}, traffic.describe()
            assert verdict.delivered == verdict.acknowledged > 0

    asyncio.run(scenario())


def registers(app: App) -> bool:
    try:
        return bool(app.tokens([f"new-{time.monotonic_ns()}"]))
    except ApiRefused:
        return False


def connects(app: App, token: str) -> bool:
    async def tried() -> bool:
        client = Client(websocket_url(app.url, app.key, token), "late", sends_nothing, lambda message: None)
        client.start()
        try:
            async with asyncio.timeout(1.0):
                await client.ready.wait()
            return True
        except TimeoutError:
            return False
        finally:
            await client.stop()

    return asyncio.run(tried())
