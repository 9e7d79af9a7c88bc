"""What travels between gateways and nodes: batches of requests one way, hints about the log and answers back.

Everything is msgpack of flat lists: a batch is packed and unpacked once, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

# Request.options
FROM_SERVER = 1  # sent through the server API: block lists are not asked
VERIFY_BLACKLIST = 2  # … unless the caller wants them to be
INCLUDE_SENDER = 4  # the sender's own devices are shown it too
JOINED = 8  # the connection behind it has joined the chatroom that is its target
REPEATED = 16  # set by the node: an earlier try of its batch may have done it
WANTS_GROUPS = 32  # a pull's answer is to tell the user's groups
FROM_OLD_LOG = 64  # of a pull: the connection has read the log of an earlier epoch than Request.epoch so far
# Three bits say what a message was sent with. They are the same ones of Message.flags.
SOURCES = 7 << 11
_SERVER = 7
SOURCE_OF = {
    "iOS": 1 << 11,
    "Android": 2 << 11,
    "Web": 3 << 11,
    "MiniProgram": 4 << 11,
    "PC": 5 << 11,
    "HarmonyOS": 6 << 11,
    "Server": _SERVER << 11,
}


def source(options: int) -> int:
    """The bits of Message.flags of what a request with these options was sent with; 0: not known."""
    return _SERVER << 11 if options & FROM_SERVER else options & SOURCES


EPOCH_ROWS = 1_000_000_000  # seqs that an epoch has; no log gets so far within one


def first_seq(epoch: int) -> int:
    """All seqs of an epoch of a SET's log are greater, all of those before it are not."""
    return (epoch - 1) * EPOCH_ROWS


def epoch_of(seq: int) -> int:
    """The epoch that a seq, or the end of a log before its first message, is of."""
    return max(seq - 1, 0) // EPOCH_ROWS + 1


ELSEWHERE = -1  # Answer.status: the message's slot is another SET's; the gateway sends it there


class Request(NamedTuple):
    """One PUBLISH or QUERY, or a server API call of the same meaning, on its way to a node."""

    tenant: int
    user: str
    method: str
    target: str
    payload: bytes
    uid: str = ""  # given by the lane to a message; the key that makes a second try harmless
    options: int = 0
    seen: int = 0  # ms: the highest message time that this connection has been shown
    generation: int = 0  # of the SDK behind the connection: 2, 4, 5; 0 for none
    device: str = ""  # whose cursor a pull goes by
    acknowledged: int = 0  # ms: everything up to it was acknowledged on this connection
    connection: str = ""  # the id of the connection behind it
    shown: int = 0  # ms: of a pull, everything up to it was shown on this connection; 0: it is its first one
    epoch: int = 0  # of a pull: the newest one of its home's log that its gateway has seen begin


class Answer(NamedTuple):
    """What became of one request of a batch. `place` is its index there."""

    place: int
    status: int
    time: int = 0  # ms
    payload: bytes = b""
    # Of a pull only: the log's seq up to which the reply holds everything, the newest time in it, and
    # whether that was all there is.
    position: int = -1
    newest: int = 0
    finished: bool = True
    groups: tuple[str, ...] | None = None  # of the user, when the pull wanted them …
    groups_at: int = 0  # … as they were at this seq


class Row(NamedTuple):
    """A committed message as gateways need it to show it. seq 0: a status message, which no log holds."""

    seq: int
    uid: str
    time: int  # ms
    sent: int  # ms: the time in the log that took it first: what users are shown
    tenant: int
    kind: int
    sender: str
    target: str
    # The users of this SET whose devices are shown it as received. Of a group's message: only these of its
    # members, or all of them when it is empty. Of a change of a group: who has come or gone.
    to: tuple[str, ...]
    sync: bool  # the sender is of this SET, and his other devices are shown it as sent
    method: str
    up: bytes
    gone: str = ""  # of a chatroom: the uid of an earlier message that is shown to nobody from here on
    status: int = 0  # that its sender is told of it: it is stored, and not as he has sent it


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one gateway process for one node: the body of one Celery task."""

    server_set: str
    gateway: str
    number: int
    attempt: int  # above 0: an earlier try may have done all or part of it
    expires: int  # epoch ms; a node that finds it later than this leaves it: the gateway has moved on
    requests: Sequence[Request]

    def pack(self) -> bytes:
        head = (self.server_set, self.gateway, self.number, self.attempt, self.expires)
        return msgpack.packb((head, self.requests), unicode_errors="surrogatepass")  # type: ignore[no-any-return]

    @classmethod
    def unpack(cls, data: bytes) -> Batch:
        head, requests = msgpack.unpackb(data, use_list=False, unicode_errors="surrogatepass")
        server_set, gateway, number, attempt, expires = head
        return cls(server_set, gateway, number, attempt, expires, [Request(*request) for request in requests])


@dataclass(frozen=True, slots=True)
class Hint:
    """What a node tells gateways: the log's range (before, upto] and its rows, and one batch's answers.

    Sent to all gateways, since each must know that it has seen the whole log: the next hint's `before`
    shows a gap, and a gateway with a gap reads the log instead. `upto` 0: there is nothing of the log in it.
    """

    server_set: str
    before: int = 0
    upto: int = 0
    rows: Sequence[Row] = ()
    gateway: str = ""  # whose batch is answered
    number: int = 0
    answers: Sequence[Answer] = field(default=())

    def pack(self) -> bytes:
        head = (self.server_set, self.before, self.upto, self.gateway, self.number)
        return msgpack.packb((head, self.rows, self.answers))  # type: ignore[no-any-return]

    @classmethod
    def unpack(cls, data: bytes) -> Hint:
        head, rows, answers = msgpack.unpackb(data, use_list=False)
        server_set, before, upto, gateway, number = head
        return cls(
            server_set,
            before,
            upto,
            [Row(*row) for row in rows],
            gateway,
            number,
            [Answer(*answer) for answer in answers],
        )


def feed_group(server_set: str) -> str:
    """The channel-layer group of all gateways that follow a SET's log."""
    return f"feed.{server_set}"


def hint_message(hint: Hint) -> dict[str, Any]:
    """The hint as a channel-layer message."""
    return {"type": "hint", "data": hint.pack()}
