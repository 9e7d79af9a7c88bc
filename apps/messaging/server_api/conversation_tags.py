"""`/tag/conversation/…`, `/user/conversation/tag/…`: tags that users have, and conversations under them.

They are the same tags that users make on their devices.
"""

from __future__ import annotations

from apps.messaging.methods.conversation_states import STATES_A_CALL, TAGS
from apps.messaging.methods.settings import TAGS_MAX
from apps.messaging.server_api.conversations import as_user, conversation_type
from apps.messaging.server_api.declarations import (
    Answer,
    Call,
    ListParam,
    Param,
    described,
    endpoint,
    identifier,
    json_object,
)
from apps.routing.protocol import im_pb2 as im

TAG_ID_MAX, TAG_NAME_MAX = 10, 15  # characters


@described(type="string", minLength=1, maxLength=TAG_ID_MAX)
def tag_id(given: str) -> str:
    if not 0 < len(identifier(given)) <= TAG_ID_MAX:
        raise ValueError(f"must have 1 to {TAG_ID_MAX} characters")
    return given


@described(type="object", required=["tagId", "tagName"], examples=[{"tagId": "vip", "tagName": "VIP"}])
def tag(given: str) -> im.SessionTagItem:
    """`{"tagId": …, "tagName": …}`"""
    its = json_object(1024)(given)
    name = its.get("tagName")
    if not isinstance(its.get("tagId"), str) or not isinstance(name, str):
        raise ValueError("must have a tagId and a tagName, which are texts")
    if not 0 < len(name) <= TAG_NAME_MAX or "\0" in name:
        raise ValueError(f"must have names of 1 to {TAG_NAME_MAX} characters")
    return im.SessionTagItem(tagId=tag_id(its["tagId"]), name=name)


@described(
    type="object",
    required=["conversationType", "targetId"],
    examples=[{"conversationType": 1, "targetId": "bob"}],
)
def conversation(given: str) -> tuple[int, str]:
    """`{"conversationType": …, "targetId": …}`"""
    its = json_object(1024)(given)
    target = its.get("targetId")
    if not isinstance(target, str) or not identifier(target):
        raise ValueError("must have a targetId, which is a text")
    return conversation_type(str(its.get("conversationType", ""))), target


USER = Param("userId", identifier, required=True)
TAG = Param("tagId", tag_id, required=True)
CONVERSATIONS = ListParam("conversations", conversation, required=True, most=STATES_A_CALL)


@endpoint("/user/conversation/tag/set", USER, ListParam("tags", tag, required=True, most=TAGS_MAX))
async def set_tags(call: Call) -> Answer:
    """Give a user tags; one that he has gets this name."""
    wanted = im.SessionTagAddInput(version=0, tags=call["tags"], ignoreVersion=True)
    await as_user(call, call["userId"], "addSeTag", wanted)
    return {}


@endpoint("/tag/conversation/set", USER, TAG, CONVERSATIONS)
async def add_conversations(call: Call) -> Answer:
    """Put conversations under a tag that the user has."""
    await as_user(call, call["userId"], "addTag", _under(call))
    return {}


@endpoint("/tag/conversation/del", USER, TAG, CONVERSATIONS)
async def remove_conversations(call: Call) -> Answer:
    """Take conversations from under a tag."""
    await as_user(call, call["userId"], "delTag", _under(call))
    return {}


@endpoint("/user/conversation/tag/del", USER, Param("tagIds", tag_id, required=True, most=TAGS_MAX))
async def remove_tags(call: Call) -> Answer:
    """Take tags from a user; his conversations are under them no longer."""
    tags = [im.SessionTagItem(tagId=each) for each in call["tagIds"]]
    wanted = im.SessionTagDelInput(version=0, tags=tags, ignoreVersion=True)
    await as_user(call, call["userId"], "delSeTag", wanted)
    return {}


def _under(call: Call) -> im.SessionStateModifyReq:
    wanted = im.SessionStateModifyReq(version=0, ignoreVersion=True)
    for kind, target in dict.fromkeys(call["conversations"]):
        item = wanted.state.add(type=kind, channelId=target).stateItem.add(sessionStateType=TAGS, value="")
        item.tags.add(tagId=call["tagId"])
    return wanted
