"""A message's expansion (PROTOCOL 6.7): values under keys that both sides may change after it was sent.

They are in the message itself, as the JSON `extraContent` of its UpStreamMessage, {"key": {"v": value, "ts":
ms}}, so that everybody who reads the message reads them. Who says something of a key last, by `ts`, is right:
changes may come to a SET in another order than they were made in. Pure functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError

KEYS_A_CALL = 100
KEYS_MAX = 300  # of a message
VALUE_MAX = 4096  # characters
AHEAD = 60_000  # ms that the clock of another SET may be ahead
ALLOWED = 0x40  # bit of a message's sessionId
CLASS = "RC:MsgExMsg"
LIMITS = f"takes {KEYS_MAX} keys of 32 letters, digits or +=-_, with values of {VALUE_MAX} characters"
_KEY = re.compile(r"[A-Za-z0-9+=_-]{1,32}")

Values = dict[str, dict[str, Any]]


class Change(NamedTuple):
    """What a message of the class RC:MsgExMsg wants."""

    uid: str  # of the message that it expands
    put: Mapping[str, str]
    delete: frozenset[str]
    everything: bool  # is to be removed before that


def parse(content: bytes) -> Change:
    """`{"mid": uid, "put": {…}, "del": […], "removeAll": 1}`. Raises ProtocolError."""
    try:
        found = json.loads(content.decode())
        uid, put, delete = found["mid"], found.get("put") or {}, found.get("del") or []
        change = Change(uid, dict(put), frozenset(delete), found.get("removeAll") in (1, True))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProtocolError("an expansion that cannot be read") from None
    if not isinstance(uid, str) or not 0 < len(uid) <= 64 or not uid.isprintable():
        raise ProtocolError("an expansion of no message")
    if not isinstance(put, dict) or not isinstance(delete, list) or len(put) + len(delete) > KEYS_A_CALL:
        raise ProtocolError("an expansion of too much")
    if not (put or delete or change.everything):
        raise ProtocolError("an expansion that changes nothing")
    if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in (*put, *delete)):
        raise ProtocolError("an expansion with a key that is none")
    if not all(_is_value(value) for value in put.values()):
        raise ProtocolError("an expansion with a value that is none")
    return change


def _is_value(value: Any) -> bool:
    """Text that UTF-8 can hold: JSON can spell half a surrogate pair."""
    if not isinstance(value, str) or len(value) > VALUE_MAX or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def content(uid: str, put: Mapping[str, str] | None = None, delete: list[str] | None = None) -> bytes:
    """What says so."""
    wanted = {"mid": uid} | ({"put": put} if put else {}) | ({"del": delete} if delete else {})
    return json.dumps(wanted, ensure_ascii=False).encode()


def values(extra: str) -> Values:
    """A message's values; those that nobody could show are not there."""
    try:
        found = json.loads(extra or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    kept: Values = {}
    for key, its in found.items():  # what its sender has written is only looked at here
        if _KEY.fullmatch(key) and isinstance(its, dict) and _is_value(its.get("v")):
            kept[key] = {name: its[name] for name in ("v", "ts") if name in its}
    return kept


def applied(before: Values, change: Change, at: int) -> Values:
    """The values after a change of `at` ms."""
    gone = before.keys() if change.everything else change.delete
    kept = {key: its for key, its in before.items() if key not in gone or _is_later(its, at)}
    put = {key: {"v": value, "ts": at} for key, value in change.put.items()}
    return kept | {key: its for key, its in put.items() if key not in kept or not _is_later(kept[key], at)}


def _is_later(its: Mapping[str, Any], at: int) -> bool:
    """Whether a value is later than a change; one from a future that no clock is in is its sender's claim."""
    since = its.get("ts", 0)
    return type(since) is int and at < since <= at + AHEAD


def expanded(up: bytes, change: Change, at: int) -> bytes:
    """The message after the change."""
    message = UpStreamMessage.FromString(up)
    after = applied(values(message.extraContent), change, at)
    message.extraContent = json.dumps(after, ensure_ascii=False, separators=(",", ":"))
    return message.SerializeToString()
