"""What a user has set for himself, besides his conversations: his tags, quiet hours (PROTOCOL 4.3, 4.6).

His devices ask for what is newer than the version they have (`pullUS`) when they are told so (`s_us`). Also
what the SDKs ask at connect and imcloud keeps nothing of: well-formed empty answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import Message

from apps.messaging import log, own_state
from apps.messaging.methods import conversation_states
from apps.messaging.methods.conversation_states import TAGS_SETTING as TAGS
from apps.messaging.methods.conversation_states import read_tags
from apps.messaging.own_state import Refusal, answers, identifier, later, text
from apps.routing import hints
from apps.routing.envelope import Answer, Request
from apps.routing.hints import Signal
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import slot

# UserSetting.key; TAGS is the one that devices pull.
QUIET_HOURS = "QuietHours"
OFFLINE_DAYS = "OfflineDays"

TAGS_MAX = 20  # of a user
NAME_MAX = 64  # characters of a tag's name
DAYS = frozenset("1234567")  # for which undelivered messages may be kept
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
DAY = 24 * 60  # minutes
PERSON = 1  # a UserSettingItem has a conversation type, whatever it is about

_NEWEST = 'SELECT COALESCE(max(version), 0) FROM messaging_usersetting WHERE tenant = %s AND "user" = %s'
_READ = 'SELECT value FROM messaging_usersetting WHERE tenant = %s AND "user" = %s AND key = %s'
_ALL = 'SELECT key, value, version FROM messaging_usersetting WHERE tenant = %s AND "user" = %s'
_PUT = """
    INSERT INTO messaging_usersetting (tenant, "user", slot, key, value, version)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (tenant, "user", key) DO UPDATE SET value = EXCLUDED.value, version = EXCLUDED.version"""


# --- reading


@answers
def pull(server_set: str, request: Request) -> im.PullUserSettingOutput:
    """pullUS. Tags come all together: the SDKs replace theirs."""
    since = im.PullUserSettingInput.FromString(request.payload).version
    rows = log.of(server_set).read(_ALL, (request.tenant, request.user))
    reply = im.PullUserSettingOutput(version=max([since, *(version for _, _, version in rows)]))
    for key, value, version in rows:
        if key == TAGS and version > since:
            tags = read_tags(value)
            reply.items.add(
                targetId="", type=PERSON, key=key, value=b"", version=version, status=0, tags=tags.values()
            )
    return reply


@answers
def quiet_hours(server_set: str, request: Request) -> im.QueryUnpushPeriodOutput:
    """qryUnpush."""
    im.QueryUnpushPeriodInput.FromString(request.payload)
    rows = log.of(server_set).read(_READ, (request.tenant, request.user, QUIET_HOURS))
    if not rows or not rows[0][0]:
        return im.QueryUnpushPeriodOutput(isUnpush=0)
    reply = im.QueryUnpushPeriodOutput.FromString(bytes(rows[0][0]))
    reply.isUnpush = 1
    return reply


# --- changing


@answers
def add_tags(server_set: str, request: Request) -> im.SetUserSettingOutput:
    """addSeTag: new tags, and new names of known ones."""
    wanted = im.SessionTagAddInput.FromString(request.payload)
    names = {identifier(tag.tagId): text(tag.name, NAME_MAX) for tag in wanted.tags}
    if not names:
        raise ProtocolError("no tag")

    def edit(stored: bytes, version: int) -> bytes:
        tags = read_tags(stored)
        for tag_id, name in names.items():
            tag = tags.setdefault(tag_id, im.SessionTagItem(tagId=tag_id, createdTime=version))
            tag.name = name
        if len(tags) > TAGS_MAX:
            raise Refusal(AckStatus.TOO_MANY_TAGS)
        return _tags_value(tags.values())

    return _change_tags(server_set, request, wanted, edit)


@answers
def remove_tags(server_set: str, request: Request) -> im.SetUserSettingOutput:
    """delSeTag; conversations lose the tag with it."""
    wanted = im.SessionTagDelInput.FromString(request.payload)
    gone = {identifier(tag.tagId) for tag in wanted.tags}
    if not gone:
        raise ProtocolError("no tag")

    def edit(stored: bytes, version: int) -> bytes:
        return _tags_value(tag for tag_id, tag in read_tags(stored).items() if tag_id not in gone)

    reply = _change_tags(server_set, request, wanted, edit)
    conversation_states.strip(server_set, request, gone)
    return reply


@answers
def add_quiet_hours(server_set: str, request: Request) -> None:
    """addUnpush."""
    wanted = im.AddUnpushPeriodInput.FromString(request.payload)
    if not _CLOCK.fullmatch(text(wanted.startTime)) or not 0 < wanted.spanMinutes < DAY:
        raise ProtocolError("quiet hours that are none")
    kept = im.QueryUnpushPeriodOutput(startTime=wanted.startTime, spanMinutes=wanted.spanMinutes)
    kept.level = wanted.level
    kept.timezone = text(wanted.timezone, may_be_empty=True)
    value = kept.SerializeToString()
    _change(server_set, request, QUIET_HOURS, lambda stored, version: value)


@answers
def remove_quiet_hours(server_set: str, request: Request) -> None:
    """delUnpush."""
    im.DeleteUnpushPeriodInput.FromString(request.payload)
    _change(server_set, request, QUIET_HOURS, lambda stored, version: b"")


@answers
def set_offline_days(server_set: str, request: Request) -> None:
    """setOfflineMsgDur of v2, which writes the settings' version and the days into another message."""
    wanted = im.GetQNupTokenOutput.FromString(request.payload)
    if wanted.token not in DAYS:
        raise ProtocolError("a number of days that is none")
    value = wanted.token.encode()
    _change(server_set, request, OFFLINE_DAYS, lambda stored, version: value, wanted.deadline)


def _change_tags(
    server_set: str,
    request: Request,
    wanted: im.SessionTagAddInput | im.SessionTagDelInput,
    edit: Callable[[bytes, int], bytes],
) -> im.SetUserSettingOutput:
    expected = None if wanted.ignoreVersion else wanted.version
    before, version = _change(server_set, request, TAGS, edit, expected)
    # A device that had everything before has everything after; another one must pull.
    return im.SetUserSettingOutput(version=version, reserve=False, updateVersion=wanted.version == before)


def _change(
    server_set: str,
    request: Request,
    key: str,
    edit: Callable[[bytes, int], bytes],
    expected: int | None = None,
) -> tuple[int, int]:
    """Give a setting the value that `edit` makes of it; the versions before and after.

    `expected`: the version that the user's settings must have.
    """
    owner = (request.tenant, request.user)

    def work(cursor: Any) -> tuple[int, int]:
        cursor.execute(_NEWEST, owner)
        (newest,) = cursor.fetchone()
        if expected is not None and expected < newest:
            raise Refusal(AckStatus.SETTINGS_CONFLICT)
        cursor.execute(_READ, (*owner, key))
        rows = cursor.fetchall()
        stored, version = bytes(rows[0][0]) if rows else b"", later(newest)
        value = edit(stored, version)
        if value == stored:
            return newest, newest
        cursor.execute(_PUT, (*owner, slot(str(request.tenant), request.user), key, value, version))
        return newest, version

    before, version = own_state.change(server_set, request, work)
    if version != before:
        notice = im.UserSettingNotification(version=version, reserve=False).SerializeToString()
        hints.signal([Signal(*owner, "s_us", notice, but=request.connection)])
    return before, version


def _tags_value(tags: Iterable[im.SessionTagItem]) -> bytes:
    return im.SessionTagAddInput(tags=tags).SerializeToString()


# --- empty answers. A version or time in one is never smaller than the request's, or the SDK would ask again.


def _event_changes(payload: bytes) -> Message:
    return im.EventChangeList(syncTime=im.QueryMsgChange.FromString(payload).syncTime, hasNext=False)


EMPTY: dict[str, Callable[[bytes], Message]] = {
    "qrySessionsAtt": lambda p: im.SessionsAttOutput(inboxTime=0, sendboxTime=0, totalUnreadCount=0),
    "reportsdk": lambda p: im.ReportSDKOutput(nothing=0),
    "pullEventChange": _event_changes,
    "qAppBot": lambda p: im.BotOutput(),
}


def answer(server_set: str, request: Request) -> Answer:
    """One of EMPTY."""
    return Answer(0, 0, 0, EMPTY[request.method](request.payload).SerializeToString())


METHODS = {
    "pullUS": pull,
    "addSeTag": add_tags,
    "delSeTag": remove_tags,
    "addUnpush": add_quiet_hours,
    "qryUnpush": quiet_hours,
    "delUnpush": remove_quiet_hours,
    "setOfflineMsgDur": set_offline_days,
}
