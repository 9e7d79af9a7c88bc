"""Messages of clients, judged and stored in this process as a worker does it; what devices read then."""

import json
from itertools import count
from typing import Any

import msgpack

from apps.messaging import exchange, log, tasks
from apps.messaging.methods import history as history_of
from apps.messaging.methods import pull as reading
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Batch, Hint, Request
from apps.routing.methods import ALL
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.uid import UidIssuer
from tests.messaging.conftest import SETS

UIDS = UidIssuer(7)
PRIVATE, GROUP, CHATROOM = 1, 3, 4


def group_of(server_set: str) -> str:
    """The id of a group (or chatroom) that is at home in this SET, always the same one."""
    parity = SETS.index(server_set)
    return next(name for n in count() if topology.slot("1", name := f"g{n}") % 2 == parity)


class Sent:
    """What became of a message."""

    def __init__(self, uid: str, status: int, hint: Hint) -> None:
        self.uid = uid
        self.status = status
        self.rows = hint.rows


def send(sender: str, method: str, target: str, payload: bytes | im.UpStreamMessage, **facts: Any) -> Sent:
    """Have the SET whose resource the message is about judge and store it, as its gateway would."""
    payload = payload if isinstance(payload, bytes) else payload.SerializeToString()
    tenant, server_set = facts.pop("tenant", 1), facts.pop("server_set", "")
    if (resource := ALL[method].resource) is not None:
        target = resource(payload) or target
    request = Request(tenant, sender, method, target, payload, UIDS.next(0), **facts)
    server_set = server_set or topology.home(tenant, target if ALL[method].by_target else sender)
    answers: list[Any] = []
    hint, _ = tasks._store(Batch(server_set, "tests", 1, 0, 1 << 53, [request]), [(0, request)], answers)
    return Sent(request.uid, answers[0].status if answers else 0, hint)


def up(
    content: Any = "x", classname: str = "RC:TxtMsg", session: int = 3, **facts: Any
) -> im.UpStreamMessage:
    """A message with this JSON, or these bytes, for its content."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return im.UpStreamMessage(sessionId=session, classname=classname, content=body, **facts)


def say(sender: str, target: str, content: Any = "x", method: str = "ppMsgP", **facts: Any) -> str:
    """The uid of a text that must be stored."""
    sent = send(sender, method, target, up(content, **facts))
    assert sent.status == 0
    return sent.uid


def join(group: str, *users: str) -> None:
    _change(group, "join", users)


def leave(group: str, *users: str) -> None:
    _change(group, "quit", users)


def _change(group: str, how: str, users: tuple[str, ...]) -> None:
    assert send("", "grpChange", group, msgpack.packb([how, users, "n"]), options=FROM_SERVER).status == 0
    exchanged()


def exchanged() -> None:
    """Every SET has read all others."""
    for name in SETS:
        exchange.run(name)


def boxes(user: str, server_set: str = "") -> list[im.DownStreamMessage]:
    """What a new device of the user pulls, sent ones among it."""
    wanted = im.SyncRequestMsg(ispolling=False, isPullSend=True, syncTime=0, sendBoxSyncTime=0)
    request = Request(1, user, "pullMsg", user, wanted.SerializeToString(), generation=4)
    answer = reading.pull(server_set or topology.home(1, user), request)
    return list(im.DownStreamMessages.FromString(answer.payload).list)


def uids(user: str, server_set: str = "") -> list[str]:
    return [each.msgId for each in boxes(user, server_set)]


def history(user: str, target: str, method: str = "qryPMsg") -> list[im.DownStreamMessage]:
    wanted = im.HistoryMsgInput(targetId=target, time=0, count=50, order=0)
    request = Request(1, user, method, user, wanted.SerializeToString())
    return list(
        im.HistoryMsgOuput.FromString(history_of.history(topology.home(1, user), request).payload).list
    )


def stored() -> int:
    """Rows of all logs, and of the tables that change with them."""
    tables = ("message", "conversationread", "groupread", "earlychange")
    return sum(
        int(log.of(name).read(f"SELECT count(*) FROM messaging_{table}", ())[0][0])
        for name in SETS
        for table in tables
    )
