"""Load on the server API: calls over connections that are kept open, in a closed loop and at a fixed rate.

The signature is made once, as the published Node SDK does: the server checks it at every call nevertheless.
"""

import asyncio
import hashlib
import json
import secrets
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import quote, urlencode, urlsplit

from bench.load import BODY_BYTES, paced
from bench.tokens import ApiRefused, App

CONNECTIONS_AT_RATE = 64  # that a call at a fixed rate may find free; if it finds none it waits, which counts
CONTENT = quote('{"content":"' + "x" * (BODY_BYTES - 14) + '"}')


class Caller(asyncio.Protocol):
    """One connection, one call at a time. It reads as much of HTTP as the server's answers have."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, url: str) -> "Caller":
        parts = urlsplit(url)
        _, caller = await asyncio.get_running_loop().create_connection(
            cls, parts.hostname or "", parts.port or 80
        )
        return caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length):
            self._received = b""
            if head.split(b" ", 2)[1] == b"200":
                self._answer.set_result(body)
            else:
                self._answer.set_exception(ApiRefused(repr(body[:300])))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server has closed the connection"))

    async def call(self, request: bytes) -> bytes:
        """The body of the answer to it; ApiRefused for one that is no success."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(slots=True)
class Calls:
    """What came back; times in seconds."""

    times: "array[float]" = field(default_factory=lambda: array("d"))
    refused: int = 0
    last: str = ""  # why


def requests(app: App, path: str, bodies: Iterator[str]) -> Iterator[bytes]:
    """The calls as they go over the wire."""
    nonce, timestamp = secrets.token_hex(8), str(int(time.time()))
    signature = hashlib.sha1((app.secret + nonce + timestamp).encode()).hexdigest()
    head = (
        f"POST {path}.json HTTP/1.1\r\nHost: {urlsplit(app.url).netloc}\r\nApp-Key: {app.key}\r\n"
        f"Nonce: {nonce}\r\nTimestamp: {timestamp}\r\nSignature: {signature}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
    )
    for body in bodies:
        yield f"{head}{len(body)}\r\n\r\n{body}".encode()


def tokens(users: int) -> Iterator[str]:
    """Of so many users in turn; of ever new ones when it is 0."""
    prefix = secrets.token_hex(4)
    for number in count():
        name = f"{prefix}-{number % users if users else number}"
        yield urlencode({"userId": name, "name": name})


def private(receivers: int) -> Iterator[str]:
    """A text message to so many receivers, by 100 senders in turn."""
    prefix = secrets.token_hex(4)
    for number in count():
        first = number if receivers == 1 else 0
        to = "".join(f"&toUserId={prefix}-to-{first % 1000 + n}" for n in range(receivers))
        yield f"fromUserId={prefix}-{number % 100}&objectName=RC:TxtMsg&content={CONTENT}{to}"


async def closed_loop(url: str, calls: Iterator[bytes], connections: int, seconds: float) -> Calls:
    """Each connection makes the next call when it has the answer to the one before."""
    found, until = Calls(), time.perf_counter() + seconds
    callers = await asyncio.gather(*(Caller.open(url) for _ in range(connections)))

    async def run(caller: Caller) -> None:
        while (began := time.perf_counter()) < until:
            await _one(caller, next(calls), began, found)

    await asyncio.gather(*map(run, callers))
    for caller in callers:
        caller.close()
    return found


async def at_rate(url: str, calls: Iterator[bytes], rate: float, seconds: float) -> Calls:
    """So many calls a second, whatever comes back; a call's time begins when it was due."""
    found, free = Calls(), asyncio.Queue[Caller]()
    for _ in range(CONNECTIONS_AT_RATE):
        free.put_nowait(await Caller.open(url))
    running = set[asyncio.Task[None]]()

    async def run(due: float) -> None:
        caller = await free.get()
        await _one(caller, next(calls), due, found)
        free.put_nowait(caller)

    async for due in paced(rate, seconds):
        task = asyncio.create_task(run(due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    while not free.empty():
        free.get_nowait().close()
    return found


async def _one(caller: Caller, request: bytes, began: float, found: Calls) -> None:
    try:
        answer = await caller.call(request)
    except ApiRefused as error:
        found.refused, found.last = found.refused + 1, str(error)
        return
    found.times.append(time.perf_counter() - began)
    if json.loads(answer)["code"] != 200:
        found.refused, found.last = found.refused + 1, answer.decode()


@dataclass(frozen=True)
class Load:
    """What a case calls. `rate`: half of the calls a second that it is to reach."""

    path: str
    bodies: Callable[[], Iterator[str]]
    connections: int
    rate: float
    messages: int = 0  # a call


LOADS = {
    "api-token": Load("/user/getToken", lambda: tokens(0), 16, 400),
    "api-token-known": Load("/user/getToken", lambda: tokens(1000), 16, 400),
    "api-private": Load("/message/private/publish", lambda: private(1), 32, 500, 1),
    "api-private-1000": Load("/message/private/publish", lambda: private(1000), 4, 10, 1000),
}
