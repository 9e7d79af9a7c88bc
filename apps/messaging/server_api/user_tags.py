"""`/user/tag…`: what a tenant's server tags its users with, to find them again (`/push`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from apps.messaging import user_tags
from apps.messaging.server_api.body import Fields
from apps.messaging.server_api.declarations import (
    PARAMETER,
    Answer,
    Call,
    ListParam,
    Param,
    Refused,
    endpoint,
    identifier,
    text,
)
from apps.messaging.user_tags import TAG_MAX, TAGS_MAX

TAGGED_MAX = 1000  # users a call
ASKED_MAX = 50


@dataclass(frozen=True)
class TagsParam(ListParam):
    """Tags as they are, commas and all. An empty list is one; only its absence is refused."""

    def value(self, fields: Fields) -> list[str]:
        if self.name not in fields:
            raise Refused(PARAMETER, f"{self.name} is required.")
        found: list[str] = Param.value(replace(self, required=False, may_be_empty=False), fields)
        return found


TAGS = TagsParam("tags", text(TAG_MAX), required=True, may_be_empty=True, most=TAGS_MAX)


@endpoint("/user/tag/set", Param("userId", identifier, required=True), TAGS)
def set_tags(call: Call) -> Answer:
    """The user has these tags and no others from then on."""
    user_tags.replace(call.tenant.id, [call["userId"]], call["tags"])
    return {}


@endpoint("/user/tag/batch/set", Param("userIds", identifier, required=True, most=TAGGED_MAX), TAGS)
def set_tags_of_many(call: Call) -> Answer:
    """Each of the users has these tags and no others from then on."""
    user_tags.replace(call.tenant.id, call["userIds"], call["tags"])
    return {}


@endpoint(
    "/user/tags/get",
    Param("userIds", identifier, required=True, most=ASKED_MAX),
    answer={"result": {"<userId>": ["vip"]}},
)
def get_tags(call: Call) -> Answer:
    """The tags of each of the users."""
    return {"result": user_tags.of(call.tenant.id, call["userIds"])}
