"""A client of XMPP (RFC 6120, 6121), made for load as bench/wire.py is: no task, future or timer per stanza.

It reads as much of XML as the stream of a server has: a stanza begins where the one before has ended, and in
an attribute `>` is written `&gt;`, which the servers that are measured do. With `acknowledged` it has every
message acknowledged by stream management (XEP-0198) on its own, and answers the server's own requests.
"""

import asyncio
import base64
import re
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

from bench.load import BODY_BYTES

Answered = Callable[[Any, int, str, int], None]  # as of bench.client; of XMPP there is no uid and no time
Shown = Callable[[str, int], None]  # the sender's name, or the room's; the number in the body

DIGITS = 10
_HEADER = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    " to='{domain}' version='1.0'>"
)
_AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>"
_RESOURCE = "bench"
_BIND = (
    "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    f"<resource>{_RESOURCE}</resource></bind></iq>"
).encode()
_ENABLE = b"<enable xmlns='urn:xmpp:sm:3'/>"
_REQUEST = b"<r xmlns='urn:xmpp:sm:3'/>"
_ANSWER = b"<a xmlns='urn:xmpp:sm:3' h='%d'/>"
_JOIN = (
    b"<presence to='%s'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"
)
_BODY = b"<body>"
_REST = b"x" * (BODY_BYTES - DIGITS) + b"</body></message>"
_NAME = re.compile(rb"<([^\s/>]+)")
_FROM = re.compile(rb"\sfrom=['\"]([^@'\"]*)")
_HANDLED = re.compile(rb"\sh=['\"](\d+)")
_ERROR = re.compile(rb"\stype=['\"]error['\"]")
_ALONE = (b"<?xml", b"<stream:stream", b"</stream:stream")  # tags of the stream itself

# All connections of a process read into one buffer, as those of bench/wire.py do.
_RECEIVED = bytearray(256 * 1024)
_VIEW = memoryview(_RECEIVED)


def numbered(number: int) -> bytes:
    """The end of a message stanza, with a body of BODY_BYTES that carries `number`."""
    return b"<body>%0*d%s" % (DIGITS, number, _REST)


@cache
def _openings(name: bytes) -> re.Pattern[bytes]:
    """A tag that opens an element of the name and does not close it at once."""
    return re.compile(rb"<%s(?:\s[^>]*)?(?<!/)>" % re.escape(name))


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole stanzas at the beginning of the data, with the stream's own tags, and what is left."""
    stanzas: list[bytes] = []
    position = 0
    while (start := data.find(b"<", position)) >= 0:
        end = _end(data, start)
        if end < 0:
            return stanzas, data[start:]
        stanzas.append(data[start:end])
        position = end
    return stanzas, b""


def _end(data: bytes, start: int) -> int:
    """Where the stanza that begins at `start` ends; -1: not in these data."""
    end = data.find(b">", start) + 1
    if not end:
        return -1
    if data[end - 2] == 47 or data.startswith(_ALONE, start):  # 47 is "/"
        return end
    found = _NAME.match(data, start)
    if found is None:
        raise ValueError(f"no XML: {data[start : start + 100]!r}")
    name = found[1]
    opening, closing, depth = b"<" + name, b"</" + name + b">", 1
    while depth:
        close = data.find(closing, end)
        if close < 0:
            return -1
        # Elements of the same name within: none but in forwarded messages.
        if data.find(opening, end, close) >= 0:
            depth += sum(1 for _ in _openings(name).finditer(data, end, close))
        depth -= 1
        end = close + len(closing)
    return end


class Client(asyncio.BufferedProtocol):
    """One connection of one user, until `stop`. A connection that is lost is not made again: see `failed`.

    `on_answer` gets each context of `send`: when the server has acknowledged the message, or at once without
    `acknowledged`. `on_shown` gets every message with a body.
    """

    def __init__(
        self,
        address: tuple[str, int],
        domain: str,
        user: str,
        password: str,
        on_answer: Answered,
        on_shown: Shown,
        *,
        acknowledged: bool = False,
        room: str = "",
    ):
        """With a `room`, NAME@DOMAIN, it is ready when it is in there."""
        self.user = user
        self.online = False
        self.ready = asyncio.Event()
        self.connections = 0
        self.failed = ""  # why it is of no use any more
        self._address, self._domain, self._room = address, domain, room
        secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self._auth = _AUTH.format(secret=secret).encode()
        self._header = _HEADER.format(domain=domain).encode()
        self._on_answer, self._on_shown = on_answer, on_shown
        self._acknowledged = acknowledged
        self._prefixes: dict[str, bytes] = {}
        self._pending: deque[Any] = deque()
        self._answered = 0  # messages, modulo 2**32 as the server counts
        self._received = 0  # stanzas since stream management began
        self._authenticated = False
        self._nick = f"{room}/{user}".encode()
        self._awaited = b""  # whose presence is to come
        self._out: list[bytes] = []
        self._rest = b""
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def start(self) -> None:
        """Begin to connect; wait for `ready` to know that it worked."""
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, *self._address)

    async def stop(self) -> None:
        """Close the connection."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()

    def send(self, target: str, upstream: bytes, context: Any) -> bool:
        """Send what `numbered` made to a user, or to the room that it is; False when offline."""
        if not self.online:
            return False
        prefix = self._prefixes.get(target)
        if prefix is None:
            to, kind = (target, "groupchat") if target == self._room else (f"{target}@{self._domain}", "chat")
            prefix = self._prefixes[target] = f"<message to='{to}' type='{kind}'>".encode()
        if self._acknowledged:
            self._pending.append(context)
            self._write(prefix + upstream + _REQUEST)
        else:
            self._write(prefix + upstream)
            self._on_answer(context, 0, "", 0)
        return True

    def _write(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._header)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _VIEW

    def buffer_updated(self, nbytes: int) -> None:
        stanzas, self._rest = split(self._rest + _VIEW[:nbytes])
        for stanza in stanzas:
            self._on_stanza(stanza)

    def connection_lost(self, exc: Exception | None) -> None:
        self.online = False
        self.ready.clear()
        if not self._stopped and not self.failed:
            self.failed = f"the connection of {self.user} was lost: {exc}"

    # Stanzas

    def _on_stanza(self, stanza: bytes) -> None:
        if stanza.startswith(b"<message"):
            self._received += 1
            self._on_message(stanza)
        elif stanza.startswith(b"<a "):
            self._on_handled(stanza)
        elif stanza.startswith(b"<r "):
            self._write(_ANSWER % self._received)
        elif stanza.startswith(b"<presence"):
            self._received += 1
            if not self.online:
                self._on_presence(stanza[: stanza.find(b">") + 1])
        elif stanza.startswith((b"<stream:error", b"<failure", b"<failed", b"</stream:stream")):
            self._fail(stanza)
        elif self.online:
            self._received += stanza.startswith(b"<iq")
        else:
            self._log_in(stanza)

    def _on_message(self, stanza: bytes) -> None:
        at = stanza.find(_BODY)
        if at < 0:
            return
        if _ERROR.search(stanza, 0, stanza.find(b">")):
            self._fail(stanza)
            return
        found = _FROM.search(stanza)
        digits = stanza[at + len(_BODY) : at + len(_BODY) + DIGITS]
        if found and digits.isdigit():
            self._on_shown(found[1].decode(), int(digits))

    def _on_handled(self, stanza: bytes) -> None:
        found = _HANDLED.search(stanza)
        assert found
        for _ in range((int(found[1]) - self._answered) % 2**32):
            self._answered += 1
            self._on_answer(self._pending.popleft(), 0, "", 0)

    # Login (RFC 6120, 9.1, without TLS), presence, room, stream management: one after the other

    def _log_in(self, stanza: bytes) -> None:
        if stanza.startswith(b"<stream:features"):
            self._write(_BIND if self._authenticated else self._auth)
        elif stanza.startswith(b"<success"):
            self._authenticated = True
            self._write(self._header)
        elif stanza.startswith(b"<iq"):
            self._awaited = f"{self.user}@{self._domain}/{_RESOURCE}".encode()
            self._write(b"<presence/>")
        elif stanza.startswith(b"<enabled"):
            self._received = 0
            self._begin()

    def _on_presence(self, tag: bytes) -> None:
        if _ERROR.search(tag):
            self._fail(tag)
        elif b"from='%s'" % self._awaited not in tag:
            return  # of another one who is in the room
        elif self._room and self._awaited != self._nick:
            self._awaited = self._nick
            self._write(_JOIN % self._nick)
        elif self._acknowledged:
            self._write(_ENABLE)
        else:
            self._begin()

    def _begin(self) -> None:
        self.online = True
        self.connections += 1
        self.ready.set()

    def _fail(self, stanza: bytes) -> None:
        self.failed = self.failed or f"{self.user} was told: {stanza[:500].decode(errors='replace')}"
