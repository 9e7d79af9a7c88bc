"""`/message/…/publish_template`: one text for many receivers, with values of each in it."""

from __future__ import annotations

import json
import re

from apps.messaging.server_api.declarations import (
    PARAMETER,
    Answer,
    Call,
    ListParam,
    Param,
    Refused,
    described,
    endpoint,
    identifier,
    json_object,
    text,
)
from apps.messaging.server_api.messages import (
    CONTENT_MAX,
    MESSAGE,
    PUSH_MAX,
    RECEIVERS_MAX,
    object_name,
    to_users,
    uids,
    up_stream,
)
from apps.messaging.server_api.system import SYSTEM_RECEIVERS_MAX
from apps.routing.envelope import FROM_SERVER, VERIFY_BLACKLIST


@described(type="object")
def json_objects(given: str) -> dict[str, str]:
    """One receiver's values: placeholder -> text."""
    found = json_object(PUSH_MAX)(given)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


TEMPLATE = (
    Param("fromUserId", identifier, required=True),
    Param("objectName", object_name, required=True),
    Param("content", text(CONTENT_MAX), required=True),
    ListParam("values", json_objects, required=True, most=RECEIVERS_MAX),
    ListParam("pushContent", text(PUSH_MAX), most=RECEIVERS_MAX, may_be_empty=True),
    ListParam("pushData", text(PUSH_MAX), most=RECEIVERS_MAX, may_be_empty=True),
    *(param for param in MESSAGE if param.name not in ("fromUserId", "objectName", "content")
      and not param.name.startswith("push")),
    Param("pushExt", json_object(PUSH_MAX), default={}),
)  # fmt: skip


@endpoint(
    "/message/private/publish_template",
    ListParam("toUserId", identifier, required=True, most=RECEIVERS_MAX),
    *TEMPLATE,
    answer=uids("userId", "bob"),
)
async def publish_private_template(call: Call) -> Answer:
    """Send users one text, with each receiver's own values in the places of their names."""
    options = FROM_SERVER | VERIFY_BLACKLIST * call["verifyBlacklist"]
    return await to_users(call, "ppMsgP", _filled(call), options)


@endpoint(
    "/message/system/publish_template",
    ListParam("toUserId", identifier, required=True, most=SYSTEM_RECEIVERS_MAX),
    *TEMPLATE,
    answer=uids("userId", "bob"),
)
async def publish_system_template(call: Call) -> Answer:
    """Send users one notice of the system, with each receiver's own values in the places of their names."""
    return await to_users(call, "sysMsg", _filled(call))


def _filled(call: Call) -> list[bytes]:
    """The messages of a template, in the order of its receivers. Raises Refused."""
    receivers, values = call["toUserId"], call["values"]
    if len(values) != len(receivers):
        raise Refused(PARAMETER, f"values has {len(values)} objects for {len(receivers)} receivers.")
    for name in ("pushContent", "pushData"):
        if call[name] and len(call[name]) != len(receivers):
            raise Refused(PARAMETER, f"{name} has {len(call[name])} texts for {len(receivers)} receivers.")
    payloads = []
    for place, its in enumerate(values):
        own = {
            "content": _fill(call["content"], its),
            "pushContent": _fill(call["pushContent"][place], its) if call["pushContent"] else "",
            "pushData": call["pushData"][place] if call["pushData"] else "",
        }
        payloads.append(up_stream(Call(call.tenant, call.values | own)).SerializeToString())
    return payloads


def _fill(template: str, values: dict[str, str]) -> str:
    """All names replaced in one pass: what is put in is not looked at again."""
    if not values:
        return template
    names = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    return re.sub(names, lambda found: values[found[0]], template)
