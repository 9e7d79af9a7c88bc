"""`/user/blockPushPeriod/…`: a user's quiet hours, the same that his devices set and ask for."""

from __future__ import annotations

import re

from apps.messaging.methods.settings import DAY
from apps.messaging.server_api.declarations import (
    INTERNAL,
    Answer,
    Call,
    Param,
    Refused,
    described,
    endpoint,
    identifier,
    integer,
)
from apps.messaging.server_api.messages import committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol import im_pb2 as im

MENTIONS_ONLY, NOTHING = 1, 5  # what pushes are kept back in the period: all but mentions, or all
USER = Param("userId", identifier, required=True)


@described(type="string", pattern="^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$", examples=["22:00:00"])
def time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d", text, re.ASCII):
        raise ValueError("must be a time like 23:59:59")
    return text


@described(type="integer", enum=[MENTIONS_ONLY, NOTHING])
def level(text: str) -> int:
    if text not in (str(MENTIONS_ONLY), str(NOTHING)):
        raise ValueError(f"must be {MENTIONS_ONLY} or {NOTHING}")
    return int(text)


async def _ask(call: Call, method: str, payload: bytes) -> bytes:
    """What his home SET answers to a query as the user's devices make it."""
    user = call["userId"]
    (reply,) = await committed([Request(call.tenant.id, user, method, user, payload, options=FROM_SERVER)])
    if reply.status:
        raise Refused(INTERNAL, "Not known to be done, please retry.")
    return reply.payload


@endpoint(
    "/user/blockPushPeriod/set",
    USER,
    Param("startTime", time_of_day, required=True),
    Param("period", integer(1, DAY - 1), required=True),
    Param("level", level, default=MENTIONS_ONLY),
)
async def set_period(call: Call) -> Answer:
    """Instead of the one that the user had; his devices are told."""
    wanted = im.AddUnpushPeriodInput(startTime=call["startTime"], spanMinutes=call["period"])
    wanted.level = call["level"]
    await _ask(call, "addUnpush", wanted.SerializeToString())
    return {}


@endpoint(
    "/user/blockPushPeriod/get",
    USER,
    answer={"data": {"startTime": "23:59:59", "period": 120, "unPushLevel": 1}},
)
async def get_period(call: Call) -> Answer:
    """An empty startTime, and zeros, of a user who has none."""
    payload = await _ask(call, "qryUnpush", im.QueryUnpushPeriodInput(nothing=0).SerializeToString())
    found = im.QueryUnpushPeriodOutput.FromString(payload)
    return {
        "data": {"startTime": found.startTime, "period": found.spanMinutes, "unPushLevel": found.level},
    }


@endpoint("/user/blockPushPeriod/delete", USER)
async def delete_period(call: Call) -> Answer:
    """Who has none need not lose it; the user's devices are told."""
    await _ask(call, "delUnpush", im.DeleteUnpushPeriodInput(nothing=0).SerializeToString())
    return {}
