"""The application in another ASGI server than Daphne: uvicorn, with the options that the docs give."""

import asyncio
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from apps.routing.protocol.im_pb2 import DownStreamMessage
from apps.routing.protocol.packets import MAX_FRAME
from bench.client import Client, text_message, websocket_url
from bench.servers import UVICORN, UVICORN_OPTIONS, gateway
from bench.tokens import App
from bench.wire import Wire
from imcloud import asgi
from tests.conftest import ROOT, WholeStack

SECONDS = 15.0
BODY = b'{"content":"hello"}'


@pytest.fixture(scope="module")
def uvicorn(stack: WholeStack) -> Iterator[tuple[App, "subprocess.Popen[bytes]"]]:
    with gateway(stack, UVICORN) as (url, process):
        yield App(url, stack.app_key, stack.app_secret), process


class Person:
    """A client, and what it was answered and shown."""

    def __init__(self, url: str, app: App, user: str, token: str) -> None:
        self.answers: list[tuple[int, str]] = []  # status, uid
        self.shown: list[DownStreamMessage] = []
        self.client = Client(websocket_url(url, app.key, token), user, self._answered, self.shown.append)
        self.client.start()

    def _answered(self, context: Any, status: int, uid: str, time: int) -> None:
        self.answers.append((status, uid))


async def until(condition: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)


async def meet(app: App, *at: str) -> list[Person]:
    """A new user at each of these URLs."""
    tokens = await asyncio.to_thread(app.tokens, [f"{secrets.token_hex(4)}-{n}" for n in range(len(at))])
    people = [Person(url, app, *its) for url, its in zip(at, tokens.items(), strict=True)]
    await until(lambda: all(each.client.ready.is_set() for each in people))
    return people


@pytest.mark.parametrize("other_at", ["uvicorn", "daphne"])
async def test_messages_go_both_ways_and_are_acknowledged(
    uvicorn: tuple[App, Any], stack: WholeStack, other_at: str
) -> None:
    app, _ = uvicorn
    people = await meet(app, app.url, app.url if other_at == "uvicorn" else stack.url)
    for one, other in (people, people[::-1]):
        assert one.client.send(other.client.user, text_message(BODY), "sent")
        await until(lambda: sum(len(each.answers + each.shown) for each in people) == 2)
        (message,) = other.shown
        assert one.answers == [(0, message.msgId)]
        assert (message.fromUserId, message.content) == (one.client.user, BODY)
        other.shown.clear()
        one.answers.clear()
    await asyncio.gather(*(each.client.stop() for each in people))


async def test_no_more_than_a_packet_is_taken(uvicorn: tuple[App, Any]) -> None:
    app, _ = uvicorn
    token = (await asyncio.to_thread(app.tokens, ["somebody"]))["somebody"]
    wire = await Wire.open(websocket_url(app.url, app.key, token), lambda _: None, lambda: None)
    wire.send(bytes(MAX_FRAME + 1))
    await until(lambda: wire.closed)
    assert wire.close_code == 1009


async def test_it_ends_in_order_and_has_logged_no_token(
    uvicorn: tuple[App, "subprocess.Popen[bytes]"], stack: WholeStack
) -> None:
    app, process = uvicorn
    logged = stack.log.stat().st_size
    (person,) = await meet(app, app.url)
    process.terminate()
    await until(lambda: process.poll() is not None and not person.client.online)
    assert process.returncode == -signal.SIGTERM
    await person.client.stop()
    with stack.log.open("rb") as log:
        log.seek(logged)
        written = log.read()
    assert b"Traceback" not in written
    assert b"token=" not in written


def test_the_docs_give_the_options_that_are_tested() -> None:
    page = (ROOT / "docs" / "access-points.md").read_text()
    assert UVICORN_OPTIONS in " ".join(page.replace("\\\n", " ").split())


async def test_a_process_runs_before_its_first_client_and_ends_when_it_is_drained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process, runs, asked = SimpleNamespace(drained=asyncio.Event()), asyncio.Event(), asyncio.Event()

    async def running() -> Any:
        runs.set()
        return process

    monkeypatch.setattr(asgi, "running", running)
    monkeypatch.setattr(asgi, "prepare", lambda: None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    server = asyncio.ensure_future(asgi.application({"type": "lifespan"}, told.get, said.put))
    try:
        async with asyncio.timeout(SECONDS):
            told.put_nowait({"type": "lifespan.startup"})
            assert await said.get() == {"type": "lifespan.startup.complete"}
            await runs.wait()
            assert not asked.is_set()
            process.drained.set()
            await asked.wait()
            told.put_nowait({"type": "lifespan.shutdown"})
            assert await said.get() == {"type": "lifespan.shutdown.complete"}
            await server
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
