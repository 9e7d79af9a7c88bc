"""`/push…`: messages to an audience of users, and notifications for phones.

The message goes to the audience as any system message does. Nothing here reaches a phone whose app is not
connected: the texts of a notification go with the message as its push texts; one without a message is only
put on record, for its audience (PushRecord). Calls that can do nothing else are refused.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from channels.db import database_sync_to_async
from django.db import connection

from apps.messaging import log, user_tags
from apps.messaging.server_api.body import BODY_MAX
from apps.messaging.server_api.declarations import (
    INTERNAL,
    NOT_OFFERED,
    PARAMETER,
    Answer,
    Call,
    Param,
    Refused,
    described,
    endpoint,
    flag,
    identifier,
    json_object,
    text,
)
from apps.messaging.server_api.messages import MESSAGE, PUSH_MAX, committed, up_stream
from apps.messaging.user_tags import TAG_MAX
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.im_pb2 import UpStreamMessage

AUDIENCE_MAX = 20_000  # users found by tags: a call of about 5 s
BATCH = 1_000  # messages on their way at once
TAGS_MAX = 20  # of either kind
USERS_MAX = 1000
NOTIFIED_MAX = 100
PLATFORMS_MAX = 8
RECORD_KEPT = 30 * 86_400_000  # ms
SHOWN = 256  # characters of a text in the record
NO_PHONES = "No provider of pushes to phones is connected; /push with a message reaches users' clients."

_RECORD = """
    WITH old AS (DELETE FROM messaging_pushrecord WHERE tenant = %(tenant)s AND at < %(old)s)
    INSERT INTO messaging_pushrecord (tenant, push, at, users, platforms, title, alert, message)
    VALUES (%(tenant)s, %(push)s, %(at)s, %(users)s, %(platforms)s, %(title)s, %(alert)s, %(message)s)"""


class Audience(NamedTuple):
    """Everybody; else these users; else who has all of these tags and, if there are any, one of those."""

    everybody: bool
    users: list[str]
    all_of: list[str]
    any_of: list[str]
    package: str  # of the app on a phone
    formula: bool  # of tags


@described(type="object", examples=[{"userid": ["bob"]}])
def audience(given: str) -> Audience:
    found = json_object(BODY_MAX)(given)
    wanted = Audience(
        everybody=flag(str(found.get("is_to_all") or "0")),
        users=_texts(found, "userid", identifier, USERS_MAX),
        all_of=_texts(found, "tag", text(TAG_MAX), TAGS_MAX),
        any_of=_texts(found, "tag_or", text(TAG_MAX), TAGS_MAX),
        package=str(found.get("packageName") or ""),
        formula=bool(found.get("tagItems")),
    )
    if not any(wanted):
        raise ValueError("names nobody: it has is_to_all, userid, tag or tag_or")
    return wanted


def _texts(given: dict[str, Any], name: str, parse: Callable[[str], str], most: int) -> list[str]:
    items = given.get(name) or []
    if not isinstance(items, list) or not all(type(item) in (str, int) for item in items):
        raise ValueError(f"has a {name} that is no array of texts")
    if len(items) > most:
        raise ValueError(f"takes {most} values of {name} at most")
    try:
        return list(dict.fromkeys(parse(str(item)) for item in items if item != ""))
    except ValueError as error:
        raise ValueError(f"has a {name} that {error}") from None


PLATFORM = Param("platform", text(32), required=True, most=PLATFORMS_MAX)
AUDIENCE = Param("audience", audience, required=True)
A_NOTIFICATION = Param("notification", json_object(PUSH_MAX), required=True)


@endpoint(
    "/push",
    PLATFORM,
    AUDIENCE,
    Param("notification", json_object(PUSH_MAX), default={}, shown=True),
    Param("message", json_object(BODY_MAX), default={}),
    Param("fromuserid", identifier),
    answer={"id": "50whSR6kQiHb7YgFwQzXIb", "messageUID?": "5FGT-7VA9-G4DD-4V5P"},
    errors=(NOT_OFFERED,),
)
async def push(call: Call) -> Answer:
    """The message is committed for the whole audience when it is answered; phones are not notified.

    `messageUID`: of a message to everybody, or to one user.
    """
    if not call["message"] and not call["notification"]:
        raise Refused(PARAMETER, "message or notification is required.")
    _check(call["audience"])
    message = _message(call) if call["message"] else None
    users = await database_sync_to_async(_audience, thread_sensitive=False)(call)
    number = secrets.token_urlsafe(16)
    await database_sync_to_async(_record, thread_sensitive=False)(call, number, users)
    if message is None:
        return {"id": number}
    uids = await _send(call, message, [""] if users is None else users)
    return {"id": number, "messageUID": uids[0]} if len(uids) == 1 else {"id": number}


@endpoint(
    "/push/user",
    Param("userIds", identifier, required=True, most=NOTIFIED_MAX),
    A_NOTIFICATION,
    errors=(NOT_OFFERED,),
)
def push_to_users(call: Call) -> Answer:
    """Refused: there is nothing in it but a notification for phones."""
    raise Refused(NOT_OFFERED, NO_PHONES)


@endpoint("/push/custom", PLATFORM, AUDIENCE, A_NOTIFICATION, errors=(NOT_OFFERED,))
def push_custom(call: Call) -> Answer:
    """Refused: there is nothing in it but a notification for phones."""
    raise Refused(NOT_OFFERED, NO_PHONES)


def _check(wanted: Audience) -> None:
    """Raises Refused for what cannot be resolved. is_to_all and userid rule out what is named beside them."""
    if wanted.everybody or wanted.users:
        return
    if wanted.formula:
        raise Refused(NOT_OFFERED, "audience.tagItems is not served; use tag and tag_or.")
    if wanted.package:
        raise Refused(NOT_OFFERED, "audience.packageName is not served: clients do not tell theirs.")


def _message(call: Call) -> UpStreamMessage:
    """The message with the notification's texts as its push texts. Raises Refused."""
    if call["fromuserid"] is None:
        raise Refused(PARAMETER, "fromuserid is required with a message.")
    given, notification = call["message"], call["notification"]
    content = given.get("content")
    content = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    if content[:3].upper() == "%7B":  # an SDK escapes it inside of the JSON
        content = unquote(content)
    fields = {
        "fromUserId": [call["fromuserid"]],
        "objectName": [str(given.get("objectName") or "")],
        "content": ["" if content == "null" else content],
        "pushContent": [_text(notification, "alert")],
        "disableUpdateLastMsg": [str(given.get("disableUpdateLastMsg") or "")],
    }
    if _text(notification, "title"):
        fields["pushExt"] = [json.dumps({"title": _text(notification, "title")}, ensure_ascii=False)]
    return up_stream(Call(call.tenant, {param.name: param.value(fields) for param in MESSAGE}))


def _text(notification: dict[str, Any], name: str) -> str:
    given = notification.get(name)
    return given.replace("\0", "") if isinstance(given, str) else ""


def _audience(call: Call) -> list[str] | None:
    """Whom it is for; None for everybody. Raises Refused."""
    wanted: Audience = call["audience"]
    if wanted.everybody:
        return None
    if wanted.users:
        return wanted.users
    found = user_tags.find(call.tenant.id, wanted.all_of, wanted.any_of, AUDIENCE_MAX + 1)
    if len(found) > AUDIENCE_MAX:
        raise Refused(PARAMETER, f"More than {AUDIENCE_MAX} users have these tags; name more of them.")
    return found


def _record(call: Call, number: str, users: Sequence[str] | None) -> None:
    now, notification = log.now(), call["notification"]
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORD,
            {
                "tenant": call.tenant.id,
                "push": number,
                "at": now,
                "old": now - RECORD_KEPT,
                "users": None if users is None else len(users),
                "platforms": " ".join(call["platform"])[:SHOWN],
                "title": _text(notification, "title")[:SHOWN],
                "alert": _text(notification, "alert")[:SHOWN],
                "message": str(call["message"].get("objectName") or "")[:32].replace("\0", ""),
            },
        )


async def _send(call: Call, message: UpStreamMessage, targets: Sequence[str]) -> list[str]:
    """The uids, when all are committed. Raises Refused; what is stored by then stays."""
    sender, payload = (call.tenant.id, call["fromuserid"]), message.SerializeToString()
    uids: list[str] = []
    for begin in range(0, len(targets), BATCH):
        batch = targets[begin : begin + BATCH]
        requests = [Request(*sender, "sysMsg", to, payload, options=FROM_SERVER) for to in batch]
        replies = await committed(requests)
        uids += [reply.uid for reply in replies if not reply.status]
        if any(reply.status for reply in replies):
            known = f"{len(uids)} of {len(targets)} messages are known to be stored."
            raise Refused(INTERNAL, known)
    return uids
