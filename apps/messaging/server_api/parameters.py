"""What parameters mean, by their names: one means the same wherever it is taken. For the reference alone."""

from __future__ import annotations

from typing import Any

from apps.messaging.server_api.declarations import Param

_USER, _GROUP, _ROOM, _UID = "alice", "friends", "lobby", "5FGT-7VA9-G4DD-4V5P"
_TEXT = '{"content":"Hello"}'

# Name -> an example of a value, and a sentence where the name does not say it all.
_TABLE: dict[str, tuple[Any, str]] = {
    "autoDelete": (True, "Whether the entry goes when its owner leaves the room."),
    "blackUserId": ("bob", "Whose messages to `userId` are refused."),
    "busChannel": ("", "Kept with the message; not looked at."),
    "chatroom": ({_ROOM: "Lobby"}, "In a form: `chatroom[ID]=NAME`, once for each room."),
    "chatroomId": (_ROOM, ""),
    "content": (_TEXT, "For types that begin with `RC:`, a JSON object as text; for your own, any text."),
    "contentAvailable": (False, "Of pushes to phones; not looked at yet."),
    "conversationType": (1, "1 private, 3 group, 4 chatroom, 6 system."),
    "count": (20, "How many, at most."),
    "destroyTime": (60, "Minutes."),
    "destroyType": (
        0,
        "0: the room ends when nothing was said for `destroyTime`; 1: so long after it was made.",
    ),
    "disablePush": (False, "Whether phones are not to be pushed to."),
    "disableUpdateLastMsg": (False, "Whether lists of conversations go on showing the message before it."),
    "endTime": (1769860800000, "In ms since 1970."),
    "entryInfo": ({"topic": "Tea"}, "Key → value."),
    "entryOwnerId": (_USER, "In whose name the entries are set."),
    "expansion": (False, "Whether values may be set on the message later."),
    "extra": ("", "A text of your own."),
    "extraContent": ({}, "The values that the message is sent with, if `expansion`."),
    "extraKey": ('["likes"]', "The keys: a JSON array as text."),
    "extraKeyVal": ({"likes": "1"}, "Key → value."),
    "fromUserId": (_USER, "In whose name."),
    "group": ({_GROUP: "Friends"}, "In a form: `group[ID]=NAME`, once for each group."),
    "groupId": (_GROUP, ""),
    "groupName": ("Friends", "Shown in pushes."),
    "includeStart": (False, "Whether a message of exactly that time is taken."),
    "isAdmin": (False, "Whether it is done by an administrator; clients are told."),
    "isBan": (False, "Whether the room is muted from the beginning."),
    "isCounted": (True, "Whether it counts as unread."),
    "isDelete": (False, "Whether clients are to remove it without a trace."),
    "isIncludeSender": (False, "Whether the sender's own devices get it too."),
    "isMentioned": (False, "Whether it mentions members; who, is in its content."),
    "isMuted": (True, "Whether the conversation disturbs nobody."),
    "isPersisted": (True, "Whether it is kept in the history."),
    "isSyncSender": (False, "Whether the user's own devices are told too."),
    "key": ("topic", "1 to 128 letters, digits or `+=-_`."),
    "keys": ("topic", ""),
    "messageUID": (_UID, "As it was answered when the message was sent."),
    "minute": (60, "Minutes for which it holds."),
    "msgTimestamp": (1769860800000, "Up to when, in ms since 1970; everything, when it is not given."),
    "msgUID": (_UID, "As it was answered when the message was sent."),
    "name": ("Alice", "Shown in pushes."),
    "needNotify": (False, "Accepted; members learn of it by what is refused to them."),
    "needReadReceipt": (False, "Whether the sender wants to know who has read it."),
    "notification": ({"alert": "Hello"}, "What phones would show."),
    "num": (100, "How many, at most."),
    "objectName": ("RC:TxtMsg", "The message's type."),
    "objectnames": ("RC:TxtMsg", "The messages' types."),
    "offset": (0, "How many are left out before them."),
    "order": (1, "1: those first who came first; 2: who came last."),
    "os": ("", "Accepted; all devices get it."),
    "page": (1, ""),
    "pageNo": (1, ""),
    "pageSize": (20, "How many on a page."),
    "pageToken": ("", "What the page before has answered as `next`."),
    "period": (120, "Minutes."),
    "platform": ("ios", "`ios` or `android`."),
    "portraitUri": ("https://example.com/alice.png", ""),
    "priority": (1, "Accepted; rooms drop by type under load."),
    "pushContent": ("", "The text of the push to phones."),
    "pushData": ("", "Comes with the push to phones."),
    "pushExt": ({}, "How phones show the push: title, forceShowPushContent, pushConfigs, templateId."),
    "remark": ("Friends", ""),
    "replaceWord": ("***", "What is put in its place; without it, messages with the word are refused."),
    "requestId": (_USER, "Whose conversation."),
    "sentTime": (1769860800000, "When the message was sent, in ms since 1970."),
    "setTop": (True, ""),
    "size": (20, "How many on a page."),
    "startTime": (1769774400000, "In ms since 1970."),
    "state": (True, ""),
    "tagId": ("vip", ""),
    "tagIds": ("vip", ""),
    "tags": ("vip", ""),
    "targetId": ("bob", "The other user, the group or the chatroom of the conversation."),
    "time": (1769860800000, "In ms since 1970."),
    "toChatroomId": (_ROOM, ""),
    "toDiscussionId": ("talk", ""),
    "toGroupId": (_GROUP, ""),
    "toUserId": ("bob", "Who gets it."),
    "userId": (_USER, ""),
    "userIds": (_USER, ""),
    "value": ("Tea", ""),
    "values": ({"{name}": "Bob"}, "One object for each of `toUserId`: what is to be replaced → with what."),
    "verifyBlacklist": (False, "Whether who has the sender on the blacklist is left out."),
    "verifyFriend": (False, "Accepted; there are no friend lists."),
    "whiteUserId": ("bob", "Whose messages `userId` takes."),
    "whiteUserIds": (_USER, "Who may send while the room is muted."),
    "word": ("damn", ""),
    "words": ("damn", ""),
}
_OF_TYPE: dict[str, Any] = {"boolean": True, "object": {}}


def meaning(param: Param) -> str:
    return param.about or _TABLE.get(param.name, ("", ""))[1]


def example(param: Param) -> Any:
    """A valid value: its type's own example, else that of its name, if that is of the type."""
    schema = param.schema
    for values in ("examples", "enum"):
        if values in schema:
            return schema[values][0]
    kinds = {bool: "boolean", int: "integer", str: "string", dict: "object"}
    value = _TABLE.get(param.name, (None, ""))[0]
    if value is not None and kinds[type(value)] == schema.get("type"):
        return value
    if schema.get("type") == "integer":
        return max(schema.get("minimum", 0), min(1, schema.get("maximum", 1)))
    return _OF_TYPE.get(schema.get("type", ""), "text")
