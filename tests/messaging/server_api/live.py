"""Calls of a running stack's server API, and connections that see their effects."""

import asyncio
import hashlib
import http.client
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from apps.routing.protocol.packets import Publish, Query, QueryAck, decode_downstream, encode_upstream
from bench.client import websocket_url
from bench.stack import Stack
from bench.tokens import ApiRefused, App
from bench.wire import Wire
from tests.messaging.server_api.documented import check_answer

PATIENCE = 20.0  # s
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def post(app: App, path: str, **form: Any) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=PATIENCE)
    try:
        answer = app.post(connection, f"{path}.json", **form)
    finally:
        connection.close()
    check_answer(path, answer)
    return answer


def app_of_its_own(stack: Stack, name: str) -> App:
    """A tenant whose words, mutes and broadcasts no other test gets; every process knows it."""
    made = json.loads(stack.manage("createtenant", name))
    app = App(stack.url, made["app_key"], made["app_secret"])
    give_up_at = time.monotonic() + PATIENCE
    while True:
        try:
            app.tokens(["somebody"])
            return app
        except ApiRefused:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)


def headers(app: App) -> dict[str, str]:
    """Those of a signed call."""
    nonce, timestamp = "1", str(int(time.time()))
    signature = hashlib.sha1((app.secret + nonce + timestamp).encode()).hexdigest()
    return {"App-Key": app.key, "Nonce": nonce, "Timestamp": timestamp, "Signature": signature}


class Client:
    """One connection."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[Any] = asyncio.Queue()
        self.wire: Wire
        self._number = 0

    def send(self, topic: str, room: str, payload: bytes) -> None:
        self._number += 1
        kind = Publish if topic in ("chatMsg", "pgMsgP", "ppMsgP") else Query
        self.wire.send(encode_upstream(kind(topic, room, self._number, payload)))

    async def next(self, kind: type, topic: str = "") -> Any:
        """The next packet of a kind; what comes before it is left out."""
        async with asyncio.timeout(PATIENCE):
            while True:
                packet = await self.packets.get()
                if isinstance(packet, kind) and (not topic or packet.topic == topic):  # type: ignore[attr-defined]
                    return packet

    async def ask(self, topic: str, room: str, payload: bytes) -> QueryAck:
        self.send(topic, room, payload)
        answer: QueryAck = await self.next(QueryAck)
        return answer


@asynccontextmanager
async def online(app: App, names: Sequence[str]) -> AsyncIterator[list[Client]]:
    tokens = await asyncio.to_thread(app.tokens, list(names))
    clients = []
    for name in names:
        client = Client()
        client.wire = await Wire.open(
            websocket_url(app.url, app.key, tokens[name]),
            lambda data, its=client.packets: its.put_nowait(decode_downstream(data)),  # type: ignore[misc]
            lambda: None,
        )
        clients.append(client)
    try:
        yield clients
    finally:
        for client in clients:
            client.wire.abort()
