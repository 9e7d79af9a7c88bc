"""What a user has set for himself: tables of his home SET, which his queries are answered in.

Each user's changes are made one after the other, in a transaction that holds his slot where it is. So a later
change has a later version and is committed later: who has seen version n has seen all up to n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from google.protobuf.message import Message

from apps.messaging import log
from apps.messaging.methods import AnswerQuery
from apps.routing.envelope import ELSEWHERE, Answer, Request
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.topology import slot

T = TypeVar("T")

WITHIN = 2.0  # s that the database may be away
ID_MAX = 64  # characters
KIND_MAX = 100  # conversation types have one or two digits


class Refusal(Exception):
    """The request gets this status (PROTOCOL 7.3), and with it what the SDK reads of a refusal."""

    def __init__(self, status: int, reply: Message | None = None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.payload = reply.SerializeToString() if reply is not None else b""


def answers(method: Callable[[str, Request], Message | None]) -> AnswerQuery:
    """A query method made of a function that returns the reply, None for an empty one, or raises Refusal."""

    def answer(server_set: str, request: Request) -> Answer:
        try:
            reply = method(server_set, request)
        except Refusal as refusal:
            return Answer(0, refusal.status, 0, refusal.payload)
        return Answer(0, 0, 0, reply.SerializeToString() if reply is not None else b"")

    return answer


def hold(cursor: Any, tenant: int, user: str) -> bool:
    """Have the user's slot stay here, and others who change something of his wait, until the transaction
    ends; False when the slot is another SET's.
    """
    cursor.execute("SELECT slots FROM messaging_head FOR SHARE")
    if not log.owns(cursor.fetchone()[0], slot(str(tenant), user)):
        return False
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", (user, tenant))
    return True


def change(server_set: str, request: Request, work: Callable[[psycopg.Cursor[Any]], T]) -> T:
    """Do `work` in a transaction that holds what is the asker's. Repeating it must do no harm."""

    def held(connection: psycopg.Connection[Any]) -> T:
        with connection.cursor() as cursor:
            if not hold(cursor, request.tenant, request.user):
                raise Refusal(ELSEWHERE)
            return work(cursor)

    return log.of(server_set).run(held, within=WITHIN)


def later(version: int) -> int:
    """The version of the change after `version`: the time in ms, if that is later."""
    return max(version + 1, log.now())


def text(value: str | bytes, most: int = ID_MAX, *, may_be_empty: bool = False) -> str:
    """A text of a client that the database can keep; raises ProtocolError for what is none."""
    if not isinstance(value, str) or "\0" in value:  # not UTF-8: protobuf leaves bytes
        raise ProtocolError("a text that is none")
    if len(value) > most or not (value or may_be_empty):
        raise ProtocolError(f"a text of {len(value)} characters")
    return value


def conversation_kind(number: int) -> int:
    """The type of a conversation that a client names; raises ProtocolError for what can be none."""
    if not 0 < number < KIND_MAX:
        raise ProtocolError(f"a conversation of type {number}")
    return number


def identifier(value: str | bytes, *, may_be_empty: bool = False) -> str:
    """The id of a user, a group or the like."""
    found = text(value, may_be_empty=may_be_empty)
    if not found.isprintable():
        raise ProtocolError("an id that cannot be printed")
    return found
