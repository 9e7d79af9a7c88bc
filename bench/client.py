"""A client with the manners of the published v4 SDK (engine 5), strict where it matters to a server.

What it shows, drops, pulls and acknowledges is what that SDK does: a direct push is shown only when no pull
is out and the first pull of the connection is finished, and dropped otherwise; nothing received is compared
with what came before, so whatever the server sends twice is shown twice; a failed pull is not repeated by
itself. The SDK's pull every 180 s is left out: no guarantee may rest on it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from apps.routing.protocol.im_pb2 import (
    DownStreamMessage,
    DownStreamMessages,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.packets import (
    PINGREQ,
    ConnAck,
    ConnStatus,
    Disconnect,
    DisconnectStatus,
    PubAck,
    Publish,
    Query,
    QueryAck,
    QueryCon,
    decode_downstream,
    encode_upstream,
)
from bench.wire import Wire

CONNACK_SECONDS = 5.0  # from creating the socket
PING_SECONDS = 15.0  # after the last answer, and as long to answer
PINGS_MISSED = 2
REQUEST_SECONDS = 30.0
RECONNECT_SECONDS = 5.0  # between attempts; the first one is made at once
SOCKET_CLOSED = 30011  # the SDK's own code for a request whose connection went away
CLOSED_EARLY = -1  # in place of a CONNACK status

OWN = 1  # DownStreamMessage.direction
PRIVATE = 1  # DownStreamMessage.type
TEXT = "RC:TxtMsg"
PERSISTED_AND_COUNTED = 3

Answered = Callable[[Any, int, str, int], None]  # context of send(), status, uid, time in ms
Shown = Callable[[DownStreamMessage], None]
Navigate = Callable[[], Awaitable[list[str]]]  # addresses as of `websocket_url`, the best first; OSError


def websocket_url(url: str, app_key: str, token: str, platform: str = "") -> str:
    """The address that the v4 SDK opens; `url` is http://host:port of the server.

    A user's second device needs another `platform`: of one there is one connection (PROTOCOL 6.10).
    """
    query = urlencode(
        {
            "appId": app_key,
            "token": token.split("@")[0] + "@",
            "sdkVer": "4.6.4",
            "pid": "",
            "apiVer": "normal",
        }
        | ({"platform": platform} if platform else {})
    )
    return f"ws://{urlsplit(url).netloc}/websocket?{query}&protocolVer=3"


def text_message(content: bytes) -> bytes:
    """UpStreamMessage of a text; `content` is the JSON text of the body."""
    return UpStreamMessage(
        sessionId=PERSISTED_AND_COUNTED, classname=TEXT, content=content, configFlag=0
    ).SerializeToString()


class Client:
    """One device of one user that stays connected until `stop`.

    `on_answer` gets the fate of every `send` exactly once, as far as the server answers once; `on_shown` gets
    each message that the user sees, in order (own ones have direction OWN and the peer as fromUserId).
    With `navigate` it connects where that says, and asks again when told to or when none of these answers.
    """

    def __init__(
        self, url: str, user: str, on_answer: Answered, on_shown: Shown, navigate: Navigate | None = None
    ):
        self._urls = [] if navigate else [url]  # the SDK's cache of what navigation said
        self._navigate = navigate
        self.user = user
        self._on_answer = on_answer
        self._on_shown = on_shown
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._connack: asyncio.Future[int] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pull_timer: asyncio.TimerHandle | None = None
        self._prefixes: dict[tuple[str, str], bytes] = {}
        self._pending: dict[int, Any] = {}
        self._synced: dict[int, Publish] = {}  # sent by another device of the user; its PUBACK is awaited
        self._last_id = 0
        self._pull_id = 0  # message id of the pull that is out; 0 = none
        self._notified = False  # something came up during the pull: pull again after it
        self._missed = 0
        self._sent_uids: deque[str] = deque(maxlen=1000)  # own messages that a pull brings back are not shown
        self.received_until = 0  # the SDK's two cursors, ms; they live as long as the page's local storage
        self.sent_until = 0
        self.online = False
        self.ready = asyncio.Event()  # the first pull of this connection is finished
        self.session = ""  # of the CONNACK
        self.refused = 0  # CONNACK or DISCONNECT status that ended it
        self.dropped = 0  # direct pushes that came at a time at which the SDK drops them
        self.connections = 0

    def start(self) -> None:
        """Begin to connect; wait for `ready` to know that it worked."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    async def stop(self) -> None:
        """Close the page."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._wire is not None:
            self._wire.abort()

    def reconnect(self) -> None:
        """Lose the connection and connect again, as after a change of network."""
        self.ready.clear()
        if self._wire is not None:
            self._wire.abort()

    def send(self, target: str, upstream: bytes, context: Any, method: str = "ppMsgP") -> bool:
        """Publish a message (UpStreamMessage bytes); False when offline: then nothing was sent."""
        if not self.online or self._wire is None:
            return False
        prefix = self._prefixes.get((method, target))
        if prefix is None:
            # All of the packet but what changes: the message id and the payload stand at its end.
            prefix = self._prefixes[method, target] = encode_upstream(Publish(method, target, 0, b""))[:-2]
        message_id = self._next_id()
        self._pending[message_id] = context
        self._wire.send(prefix + message_id.to_bytes(2) + upstream)
        return True

    # Connection

    async def _stay_connected(self) -> None:
        while not self.refused:
            status = await self._connect()
            if status == CLOSED_EARLY:
                await asyncio.sleep(RECONNECT_SECONDS)
            elif status == ConnStatus.REDIRECT and self._navigate:
                self._urls = []
                self.reconnect()
            else:
                self.refused = self.refused or status
                if not self.refused and self._closed is not None:
                    self._begin()
                    await self._closed

    async def _connect(self) -> int:
        """Try the addresses in their order; the CONNACK status of the first that answers, or CLOSED_EARLY."""
        try:
            if self._navigate and not self._urls:
                self._urls = await self._navigate()
        except OSError:
            return CLOSED_EARLY
        for url in self._urls:
            try:
                async with asyncio.timeout(CONNACK_SECONDS):
                    status = await self._open(url)
            except OSError:
                status = CLOSED_EARLY
            if status != CLOSED_EARLY:
                return status
            self.reconnect()
        self._urls = [] if self._navigate else self._urls
        return CLOSED_EARLY

    async def _open(self, url: str) -> int:
        loop = asyncio.get_running_loop()
        self._connack, self._closed = connack, closed = loop.create_future(), loop.create_future()
        self._wire = await Wire.open(url, self._on_packet, lambda: self._lost(connack, closed))
        return await connack

    def _begin(self) -> None:
        self.connections += 1
        self.online = self._wire is not None and not self._wire.closed
        self._missed = 0
        self._ping()
        self._pull()

    def _lost(self, connack: asyncio.Future[int], closed: asyncio.Future[None]) -> None:
        if connack is not self._connack:  # the one before: another has taken its place
            return
        self.online = False
        self.ready.clear()
        for timer in (self._timer, self._pull_timer):
            if timer is not None:
                timer.cancel()
        self._pull_id, self._notified = 0, False
        self._synced.clear()
        pending, self._pending = self._pending, {}
        for context in pending.values():
            self._on_answer(context, SOCKET_CLOSED, "", 0)
        if not connack.done():
            connack.set_result(CLOSED_EARLY)
        if not closed.done():
            closed.set_result(None)

    def _next_id(self) -> int:
        self._last_id = self._last_id % 65535 + 1
        return self._last_id

    # Packets

    def _on_packet(self, data: bytes) -> None:
        packet = decode_downstream(data)
        if type(packet) is PubAck:
            self._on_puback(packet)
        elif type(packet) is Publish:
            self._on_publish(packet)
        elif type(packet) is QueryAck:
            self._on_queryack(packet)
        elif type(packet) is ConnAck:
            self._on_connack(packet)
        elif type(packet) is Disconnect:
            if packet.status == DisconnectStatus.OTHER_DEVICE:  # the only one after which the SDK stays away
                self.refused = packet.status
            elif packet.status == DisconnectStatus.REDIRECT and self._navigate:
                self._urls = []  # the server closes the connection
        else:
            self._on_pingresp()

    def _on_connack(self, packet: ConnAck) -> None:
        self.session = packet.session_id
        if self._connack is not None and not self._connack.done():
            self._connack.set_result(packet.status)

    def _on_puback(self, packet: PubAck) -> None:
        if synced := self._synced.pop(packet.message_id, None):
            self._show_synced(synced, packet)
            return
        context = self._pending.pop(packet.message_id, None)
        if context is None:
            return
        if not packet.status:
            self._sent_uids.append(packet.uid)
            self.sent_until = max(self.sent_until, packet.time)
        self._on_answer(context, packet.status, packet.uid, packet.time)

    def _on_publish(self, packet: Publish) -> None:
        if packet.dup:
            self._synced[packet.message_id] = packet
            return
        if packet.qos and self._wire is not None:  # the transport acknowledges, shown or not
            self._wire.send(b"\x40" + packet.message_id.to_bytes(2))
        if packet.topic == "s_ntf":
            self._pull()
        elif packet.topic == "s_msg":
            if self._pull_id or not self.ready.is_set():
                self.dropped += 1
                return
            self._show(DownStreamMessage.FromString(packet.payload))

    def _show_synced(self, sent: Publish, receipt: PubAck) -> None:
        up = UpStreamMessage.FromString(sent.payload)
        self._show(
            DownStreamMessage(
                fromUserId=sent.target,
                type=PRIVATE,
                classname=up.classname,
                content=up.content,
                dataTime=receipt.time,
                status=0,
                msgId=receipt.uid,
                direction=OWN,
            )
        )

    def _show(self, message: DownStreamMessage) -> None:
        if message.direction == OWN:
            self.sent_until = max(self.sent_until, message.dataTime)
            if message.msgId in self._sent_uids:
                return
        else:
            self.received_until = message.dataTime
        self._on_shown(message)

    # Pull

    def _pull(self) -> None:
        """Ask for what is new; one pull at a time, another one after it when asked meanwhile."""
        if self._pull_id:
            self._notified = True
            return
        if self._wire is None or not self.online:
            return
        self._notified = False
        self._pull_id = self._next_id()
        request = SyncRequestMsg(
            syncTime=self.received_until,
            ispolling=False,
            isweb=True,
            isPullSend=True,
            isKeeping=False,
            sendBoxSyncTime=self.sent_until,
            broadcastSyncTime=0,
        )
        query = Query("pullMsg", self.user, self._pull_id, request.SerializeToString())
        self._wire.send(encode_upstream(query))
        self._pull_timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self._pull_over)

    def _pull_over(self) -> None:
        if self._pull_timer is not None:
            self._pull_timer.cancel()
        self._pull_id = 0
        if self._notified:
            self._pull()

    def _on_queryack(self, packet: QueryAck) -> None:
        if packet.qos and self._wire is not None:
            self._wire.send(encode_upstream(QueryCon(packet.message_id)))
        if packet.message_id != self._pull_id:
            return
        if packet.status:
            self._pull_over()
            return
        reply = DownStreamMessages.FromString(packet.payload)
        for message in reply.list:
            self._show(message)
        self.received_until = reply.syncTime
        if reply.HasField("finished") and not reply.finished:
            self._notified = True  # the rest, at once
        else:
            self.ready.set()
        self._pull_over()

    # Heartbeat

    def _ping(self) -> None:
        if self._wire is not None:
            self._wire.send(PINGREQ)
            self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping_missed)

    def _ping_missed(self) -> None:
        self._missed += 1
        if self._missed < PINGS_MISSED:
            self._ping()
        else:
            self.reconnect()

    def _on_pingresp(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._missed = 0
        self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping)
