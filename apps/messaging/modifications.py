"""A message's modification: other content for a message that was sent, by the tenant's server.

It is a row of the log that nobody is shown, with the new content and, as `delMsgId`, the uid of the message.
What it changes is the message itself, in each SET that has it, so that everybody who reads it later reads the
new content. Who modifies a message last is right: `modifiedAt` of it says when that was. Pure functions.
"""

from __future__ import annotations

from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError

METHOD = "modify"  # Message.method
CLASS = "imcloud:modify"
AHEAD = 60_000  # ms that the clock of another SET may be ahead


def modification(uid: str, content: str, classname: str = "") -> bytes:
    """The row's UpStreamMessage; `classname`: what the message must be of, if that matters."""
    up = UpStreamMessage(sessionId=0, classname=CLASS, content=content.encode())
    up.delMsgId, up.metadata = uid, classname
    return up.SerializeToString()


def modifies(up: bytes) -> str:
    """The uid of the message that it is about. Raises ProtocolError."""
    uid: str = UpStreamMessage.FromString(up).delMsgId
    if not 0 < len(uid) <= 64:
        raise ProtocolError("a modification of no message")
    return uid


def modified(up: bytes, change: bytes, at: int) -> bytes:
    """The message after a modification of `at` ms; as it was, after one that is older than what it has.

    A time that no clock is in yet is its sender's claim.
    """
    message = UpStreamMessage.FromString(up)
    if at < message.modifiedAt <= at + AHEAD:
        return up
    message.content, message.modifiedAt = UpStreamMessage.FromString(change).content, at
    return message.SerializeToString()
