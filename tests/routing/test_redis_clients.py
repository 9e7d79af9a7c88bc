"""Whoever has a connection to a master that is gone finds the one that the Sentinels name now."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from apps.routing import redis_clients
from bench.stack import free_port
from imcloud import embedded
from imcloud.config import sentinel
from tests.conftest import wait_for

MASTER = "its-name"
PASSWORD, OF_SENTINEL = "of-redis", "of-the-sentinel"


class Watched:
    """Two Redis that know nothing of each other, and a Sentinel that is told which of them is the master."""

    def __init__(self, folder: Path) -> None:
        first = free_port(3)
        self.ports, its_port = (first, first + 1), first + 2
        self._asked = redis.Redis(port=its_port, password=OF_SENTINEL, retry=None)  # type: ignore[arg-type]
        file = folder / "sentinel.conf"
        file.write_text(f"port {its_port}\nrequirepass {OF_SENTINEL}\ndir {folder}\n")
        self._processes = [
            *(_started("--port", str(port), "--requirepass", PASSWORD, "--save", "") for port in self.ports),
            _started(str(file), "--sentinel"),
        ]
        for port in self.ports:
            server = redis.Redis(port=port, password=PASSWORD, retry=None)  # type: ignore[arg-type]
            wait_for(partial(_answers, server), 20, "Redis did not start")
        wait_for(partial(_answers, self._asked), 20, "the Sentinel did not start")
        self._asked.sentinel_monitor(MASTER, "127.0.0.1", self.ports[0], 1)
        self.url = (
            f"sentinel://:{PASSWORD}@127.0.0.1:{free_port()},127.0.0.1:{its_port}/3"  # nobody is at the first
            f"?master={MASTER}&sentinel_password={OF_SENTINEL}"
        )

    def fail(self) -> None:
        """The first one dies, and the other one is the master."""
        self._processes[0].kill()
        self._processes[0].wait()
        self._asked.sentinel_remove(MASTER)
        self._asked.sentinel_monitor(MASTER, "127.0.0.1", self.ports[1], 1)

    def end(self) -> None:
        self._asked.close()
        for process in self._processes:
            process.kill()
            process.wait()


def _started(*words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([embedded.redis_binary(), *words], stdout=subprocess.DEVNULL)


def _answers(server: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(server.ping())
    return False


@pytest.fixture
def watched(tmp_path: Path, settings: Any) -> Iterator[Watched]:
    made = Watched(tmp_path)
    settings.REDIS_URL, settings.REDIS_SENTINEL = made.url, sentinel(made.url)
    yield made
    made.end()


def test_threads_follow_to_the_new_master_with_the_next_try(watched: Watched) -> None:
    client = redis_clients.client(socket_timeout=2, socket_connect_timeout=2)
    client.set("key", "first")
    assert client.connection_pool.connection_kwargs["db"] == 3
    watched.fail()
    with contextlib.suppress(redis.ConnectionError):
        client.get("key")
    assert client.get("key") is None
    client.set("key", "second")
    with redis.Redis(port=watched.ports[1], password=PASSWORD, db=3) as second:
        assert second.get("key") == b"second"


def test_an_event_loop_that_slept_meanwhile_loses_no_message_to_the_old_master(watched: Watched) -> None:
    """As in workers: their loop runs only while they tell something, and sees no connection end."""
    listener, teller = redis_clients.ChannelLayer(), redis_clients.ChannelLayer()
    sleeper = asyncio.new_event_loop()
    sleeper.run_until_complete(teller.group_send("group", {"number": 0}))
    watched.fail()

    async def told() -> dict[str, Any]:
        channel = await listener.new_channel()
        await listener.group_add("group", channel)
        await asyncio.to_thread(sleeper.run_until_complete, teller.group_send("group", {"number": 1}))
        return dict(await asyncio.wait_for(listener.receive(channel), 10))

    assert asyncio.run(told()) == {"number": 1}
    sleeper.close()


def test_who_listens_is_told_by_the_new_master(watched: Watched) -> None:
    async def scenario() -> None:
        layer = redis_clients.ChannelLayer()
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await asyncio.to_thread(watched.fail)
        received = asyncio.ensure_future(layer.receive(channel))
        give_up_at = asyncio.get_running_loop().time() + 20
        while not received.done():  # until it has subscribed again
            assert asyncio.get_running_loop().time() < give_up_at
            with contextlib.suppress(redis.ConnectionError):
                await layer.group_send("group", {"number": 1})
            await asyncio.sleep(0.1)
        assert received.result() == {"number": 1}
        await layer.flush()

    asyncio.run(scenario())
