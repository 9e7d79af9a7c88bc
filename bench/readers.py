"""Who comes back and reads: a page of a long history, what came while one was away, everybody at once."""

import asyncio
import http.client
import random
import time
from array import array
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import psycopg

from apps.routing import placement
from apps.routing.protocol.im_pb2 import DownStreamMessage, HistoryMsgInput, HistoryMsgOuput, UpStreamMessage
from apps.routing.protocol.packets import Query, encode_upstream
from bench.client import Client, text_message, websocket_url
from bench.load import CONNECT_SECONDS, numbered, sends_nothing
from bench.tokens import TIMEOUT_SECONDS, App
from bench.wire import Wire

PRIVATE = 1  # conversation type
QUERYACK = 6  # the upper half of a packet's first byte
AT_ONCE = 1000  # receivers of one call
PAGE = 100  # messages

# Rows as if the pairs had written one message a ms, each pair one and then each pair one the other way; the
# log goes on after them.
_ROWS = """
    WITH head AS (UPDATE messaging_head SET seq = seq + %(number)s, time = GREATEST(time, %(until)s)
                  RETURNING seq - %(number)s AS before)
    INSERT INTO messaging_message (seq, uid, time, sent, tenant, kind, sender, target, conversation, flags,
      inbox, sendbox, export, reach, target_slot, sender_slot, method, up)
    SELECT before + n, 'bench-' || before + n, %(until)s - %(number)s + n, %(until)s - %(number)s + n,
           %(tenant)s, 1, sender, target, conversation, 3, true, true, false, NULL, target_slot, sender_slot,
           'ppMsgP', %(up)s
    FROM head, generate_series(1, %(number)s) n JOIN unnest(
      %(turns)s::int[], %(senders)s::text[], %(targets)s::text[], %(conversations)s::bigint[],
      %(target_slots)s::int[], %(sender_slots)s::int[]
    ) AS turn (turn, sender, target, conversation, target_slot, sender_slot) ON turn = n %% %(ways)s"""


def fill(database_url: str, tenant: int, pairs: Sequence[tuple[str, str]], number: int) -> int:
    """Put so many messages, of these pairs of users in all, into a SET's log; ms of the newest."""
    app, until = str(tenant), time.time_ns() // 1_000_000
    ways = [*pairs, *((other, one) for one, other in pairs)]  # who writes to whom
    parameters = {
        "number": number,
        "until": until,
        "tenant": tenant,
        "ways": len(ways),
        "turns": [*range(len(ways))],
        "senders": [sender for sender, _ in ways],
        "targets": [target for _, target in ways],
        "conversations": [placement.digest(app, str(PRIVATE), *sorted(users)) - (1 << 63) for users in ways],
        "target_slots": [placement.slot(app, target) for _, target in ways],
        "sender_slots": [placement.slot(app, sender) for sender, _ in ways],
        "up": text_message(b'{"content":"%s"}' % (b"x" * 100)),
    }
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_ROWS, parameters)
        connection.execute("VACUUM ANALYZE messaging_message")
        connection.execute("CHECKPOINT")  # it would go on beside what is measured
    return until


class Asker:
    """A connection that asks one query after the other."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self._id = 0
        self._answer: asyncio.Future[bytes] | None = None

    async def open(self, url: str) -> None:
        self._wire = await Wire.open(url, self._on_packet, self._lost)

    def _lost(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("closed before the reply"))

    def _on_packet(self, data: bytes) -> None:
        if data[0] >> 4 == QUERYACK and self._answer is not None:
            if data[7:9] == b"\0\0":
                self._answer.set_result(data[9:])
            else:
                self._answer.set_exception(RuntimeError(f"status {int.from_bytes(data[7:9])}"))

    async def ask(self, method: str, target: str, payload: bytes) -> bytes:
        """The reply; RuntimeError when it was refused, OSError when it did not come."""
        if self._wire is None:
            raise ConnectionError("not open")
        self._id += 1
        self._answer = asyncio.get_running_loop().create_future()
        self._wire.send(encode_upstream(Query(method, target, self._id, payload)))
        async with asyncio.timeout(CONNECT_SECONDS):
            return await self._answer

    def close(self) -> None:
        if self._wire is not None:
            self._wire.abort()


async def pages(url: str, user: str, peer: str, newest: int, rows: int, seconds: float) -> "array[float]":
    """Seconds that each page took, at places all over the conversation, in both directions."""
    asker, took = Asker(), array("d")
    await asker.open(url)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        order, at = random.randrange(2), newest - random.randrange(PAGE, rows - PAGE)
        wanted = HistoryMsgInput(targetId=peer, time=at, count=PAGE, order=order).SerializeToString()
        began = time.perf_counter()
        reply = await asker.ask("qryPMsg", user, wanted)
        took.append(time.perf_counter() - began)
        if len(HistoryMsgOuput.FromString(reply).list) != PAGE:
            raise RuntimeError("a page that is not full")
    asker.close()
    return took


def post_to(app: App, sender: str, receivers: Sequence[str], numbers: Sequence[int]) -> None:
    """Send these numbered messages to each of them, by the server API."""
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=TIMEOUT_SECONDS)
    try:
        for number in numbers:
            body = _body(number)
            for start in range(0, len(receivers), AT_ONCE):
                to = list(receivers[start : start + AT_ONCE])
                app.post(
                    connection,
                    "/message/private/publish.json",
                    fromUserId=sender,
                    toUserId=to,
                    objectName="RC:TxtMsg",
                    content=body,
                )
    finally:
        connection.close()


def _body(number: int) -> str:
    """The text that `load.number_of` finds the number in."""
    return UpStreamMessage.FromString(numbered(number)).content.decode()


class Returning:
    """Users with a device each that come back at one moment; what they are shown is counted."""

    def __init__(self, app: App, tokens: dict[str, str], number: Callable[[bytes], int]):
        self._app, self._tokens, self._number = app, tokens, number
        self._shown: dict[str, list[int]] = {}
        self.faults = {"lost": 0, "duplicated": 0, "out_of_order": 0}  # of all times together

    async def come(self, numbers: Sequence[int]) -> tuple[float, "array[float]"]:
        """Have each pull these messages: seconds until all have, and of each; a new page has no cursors."""
        self._shown = {user: [] for user in self._tokens}
        took = array("d")
        clients = [
            Client(
                websocket_url(self._app.url, self._app.key, token), user, sends_nothing, self._shown_to(user)
            )
            for user, token in self._tokens.items()
        ]
        began = time.perf_counter()

        async def one(client: Client) -> None:
            client.start()
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.ready.wait()
            took.append(time.perf_counter() - began)

        await asyncio.gather(*map(one, clients))
        whole = time.perf_counter() - began
        await asyncio.sleep(0.5)  # a second copy would come now
        await asyncio.gather(*(client.stop() for client in clients))
        self._judge(numbers)
        return whole, took

    def _shown_to(self, user: str) -> Callable[[DownStreamMessage], None]:
        return lambda message: self._shown[user].append(self._number(message.content))

    def _judge(self, numbers: Sequence[int]) -> None:
        wanted = set(numbers)
        for its in self._shown.values():
            self.faults["lost"] += len(wanted - set(its))
            self.faults["duplicated"] += len(its) - len(set(its))
            self.faults["out_of_order"] += its != sorted(its)


def tenant_of(database_url: str, app_key: str) -> int:
    """A tenant's number."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT id FROM accounts_tenant WHERE app_key = %s", (app_key,)).fetchone()
    if found is None:
        raise LookupError(app_key)
    number: int = found[0]
    return number
