"""How a user has set his conversations: do not disturb, on top, tags (PROTOCOL 4.6).

A row holds all items of a conversation, so that a device which asks for what is newer than its version gets
each conversation whole. Its other devices are told by `s_cmd` 3.

Generations 2 and 4 know "do not disturb" as yes or no, v5 as a level: what the former set is kept as the
level BLOCKED, and each is shown its own form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from apps.messaging import log, own_state
from apps.messaging.own_state import Refusal, answers, conversation_kind, identifier, later, text
from apps.routing import hints
from apps.routing.envelope import Request
from apps.routing.hints import Signal
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.messages import GROUP, PRIVATE
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import home, slot

STATES_CHANGED = 3  # NotifyMsg.type
SILENT, ON_TOP, TAGS, TRANSLATED = 1, 2, 3, 4  # SessionStateItem.sessionStateType
VALUE_MAX = 16  # characters of an item: a flag or a level
BLOCKED, LEVEL_MAX = 5, 100  # the level "no notice of anything"; what a level may be, either way
LEVELS = 5  # the generation that knows levels
STATES_A_CALL = 100
STATES_MAX = 3000  # conversations of one user that something was ever set for
TAGS_A_CONVERSATION = 20
TAGS_SETTING = "Tag"  # UserSetting.key of the tags that a user has

Key = tuple[int, str, str]  # kind, target, channel
Items = dict[int, im.SessionStateItem]
Edit = Callable[[Items], None]

_READ = """
    SELECT kind, target, channel, state FROM messaging_conversationstate
    WHERE tenant = %(tenant)s AND "user" = %(user)s"""
_OF_KEYS = f"""{_READ} AND (kind, target, channel) IN (
    SELECT * FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(channels)s::varchar[]))"""
_NEWEST = """
    SELECT COALESCE(max(version), 0), count(*) FROM messaging_conversationstate
    WHERE tenant = %(tenant)s AND "user" = %(user)s"""
_PUT = """
    INSERT INTO messaging_conversationstate (tenant, "user", slot, kind, target, channel, state, version)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, kind, target, channel, state,
           %(version)s::int8
    FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(channels)s::varchar[], %(states)s::bytea[])
      AS w(kind, target, channel, state)
    ON CONFLICT (tenant, "user", kind, target, channel) DO UPDATE
    SET state = EXCLUDED.state, version = EXCLUDED.version"""
_TAGS = 'SELECT value FROM messaging_usersetting WHERE tenant = %s AND "user" = %s AND key = %s'
_NEWER = """
    SELECT kind, target, channel, state, version FROM messaging_conversationstate
    WHERE tenant = %s AND "user" = %s AND version > %s ORDER BY version"""


# --- reading


@answers
def pull(server_set: str, request: Request) -> im.SessionStates:
    """pullSeAtts: every conversation that changed after the version that the device has."""
    since = im.SessionReq.FromString(request.payload).time
    rows = log.of(server_set).read(_NEWER, (request.tenant, request.user, since))
    reply = im.SessionStates(version=max(rows[-1][-1], since) if rows else since)
    for kind, target, channel, state, version in rows:
        shown = reply.state.add(type=kind, channelId=target, time=version)
        if channel:
            shown.busChannel = channel
        for item in _items(state).values():
            if item.sessionStateType == SILENT and request.generation != LEVELS:
                item.value = "1" if int(item.value) > 0 else "0"
            shown.stateItem.append(item)
    return reply


@answers
def is_blocked(server_set: str, request: Request) -> None:
    """qryPPush, qryDPush of v2: the status is the answer, 1 when there are no notices."""
    key = _push_key(request)
    rows = log.of(server_set).read(_OF_KEYS, _of(request) | _columns([key]))
    item = _items(rows[0][-1]).get(SILENT) if rows else None
    if item is not None and int(item.value) > 0:
        raise Refusal(1)


def stored(tenant: int, user: str, key: Key) -> Items:
    """How a user has set one conversation, read in his home SET."""
    of = {"tenant": tenant, "user": user} | _columns([key])
    rows = log.of(home(tenant, user)).read(_OF_KEYS, of)
    return _items(rows[0][-1]) if rows else {}


# --- changing


@answers
def set_states(server_set: str, request: Request) -> im.SessionStateModifyResp:
    """setSeAtt. Its version is a clock's in v4, so that nothing can be told of a conflict from it."""
    wanted = im.SessionStateModifyReq.FromString(request.payload)
    return _modify(server_set, request, wanted, lambda state: _setter(state, request.generation))


@answers
def add_tags(server_set: str, request: Request) -> im.SessionStateModifyResp:
    """addTag: put conversations under tags that the user has."""
    wanted = im.SessionStateModifyReq.FromString(request.payload)
    rows = log.of(server_set).read(_TAGS, (request.tenant, request.user, TAGS_SETTING))
    known = read_tags(rows[0][0]).keys() if rows else frozenset()

    def edit(state: im.SessionState) -> Edit:
        tags = _tags(state)
        if not tags.keys() <= known:
            raise ProtocolError("a tag that the user does not have")
        return lambda items: _add_tags(items, tags)

    return _modify(server_set, request, wanted, edit)


@answers
def remove_tags(server_set: str, request: Request) -> im.SessionStateModifyResp:
    """delTag: take conversations from under tags."""
    wanted = im.SessionStateModifyReq.FromString(request.payload)

    def edit(state: im.SessionState) -> Edit:
        tags = _tags(state)
        return lambda items: _drop_tags(items, tags.keys())

    return _modify(server_set, request, wanted, edit)


@answers
def forget_tags(server_set: str, request: Request) -> None:
    """disTag: take all conversations from under tags."""
    tags = [identifier(tag) for tag in im.SessionDisTagReq.FromString(request.payload).tagId]
    if not tags:
        raise ProtocolError("no tag")
    strip(server_set, request, tags)


@answers
def set_level(server_set: str, request: Request) -> im.TypeUnpushOutput:
    """setTypeUnpush: do not disturb for all conversations of a kind."""
    wanted = im.TypeUnpushInput.FromString(request.payload)
    if not wanted.HasField("unpushLevel") or abs(wanted.unpushLevel) > LEVEL_MAX:
        raise ProtocolError("a level that is none")
    key = (conversation_kind(wanted.type), "", "")
    expected = None if wanted.ignoreVersion else wanted.version
    edit = _putter(im.SessionStateItem(sessionStateType=SILENT, value=str(wanted.unpushLevel)))
    before, version = _change(server_set, request, {key: edit}, expected)
    return im.TypeUnpushOutput(version=version, updateVersion=wanted.version == before)


@answers
def block_push(server_set: str, request: Request) -> None:
    """blkPPush, blkDPush of v2."""
    item = im.SessionStateItem(sessionStateType=SILENT, value=str(BLOCKED))
    _change(server_set, request, {_push_key(request): _putter(item)})


@answers
def unblock_push(server_set: str, request: Request) -> None:
    """unblkPPush, unblkDPush of v2."""
    item = im.SessionStateItem(sessionStateType=SILENT, value="0")
    _change(server_set, request, {_push_key(request): _putter(item)})


def read_tags(value: bytes) -> dict[str, im.SessionTagItem]:
    """The tags of a setting, by id, those first that came first."""
    return {tag.tagId: tag for tag in im.SessionTagAddInput.FromString(bytes(value)).tags}


def strip(server_set: str, request: Request, tags: Iterable[str]) -> None:
    """Take all of the user's conversations from under these tags."""
    rows = log.of(server_set).read(_READ, _of(request))
    gone = frozenset(tags)
    edits: dict[Key, Edit] = {}
    for kind, target, channel, state in rows:
        tagged = _items(state).get(TAGS)
        if tagged is not None and any(tag.tagId in gone for tag in tagged.tags):
            edits[kind, target, channel] = lambda items: _drop_tags(items, gone)
    if edits:
        _change(server_set, request, edits)


def _modify(
    server_set: str,
    request: Request,
    wanted: im.SessionStateModifyReq,
    edit: Callable[[im.SessionState], Edit],
) -> im.SessionStateModifyResp:
    if not 0 < len(wanted.state) <= STATES_A_CALL:
        raise ProtocolError(f"{len(wanted.state)} conversations in a call")
    edits = {_key(state): edit(state) for state in wanted.state}
    before, version = _change(server_set, request, edits)
    # A device that had everything before has everything after; another one must pull.
    return im.SessionStateModifyResp(version=version, updateVersion=wanted.version == before)


def _change(
    server_set: str, request: Request, edits: Mapping[Key, Edit], expected: int | None = None
) -> tuple[int, int]:
    """Edit these conversations; the user's versions before and after, the same when nothing has changed.

    `expected`: the version that the user's conversations must have.
    """
    of = _of(request)

    def work(cursor: Any) -> tuple[int, int]:
        cursor.execute(_NEWEST, of)
        newest, number = cursor.fetchone()
        if expected is not None and expected < newest:
            raise Refusal(AckStatus.SETTINGS_CONFLICT)
        cursor.execute(_OF_KEYS, of | _columns(list(edits)))
        stored = {(kind, target, channel): bytes(state) for kind, target, channel, state in cursor.fetchall()}
        changed: dict[Key, bytes] = {}
        for key, edit in edits.items():
            items = _items(stored.get(key, b""))
            edit(items)
            state = im.SessionState(stateItem=[items[which] for which in sorted(items)]).SerializeToString()
            if state != stored.get(key, b""):
                changed[key] = state
        if not changed:
            return newest, newest
        if number + len(changed.keys() - stored.keys()) > STATES_MAX:
            raise Refusal(AckStatus.OPERATION_BLOCKED)
        put = of | _columns(list(changed)) | {"states": list(changed.values()), "version": later(newest)}
        cursor.execute(_PUT, put)
        return newest, int(put["version"])

    before, version = own_state.change(server_set, request, work)
    if version != before:
        notice = im.NotifyMsg(type=STATES_CHANGED, time=version).SerializeToString()
        hints.signal([Signal(request.tenant, request.user, "s_cmd", notice, but=request.connection)])
    return before, version


def _of(request: Request) -> dict[str, Any]:
    number = slot(str(request.tenant), request.user)
    return {"tenant": request.tenant, "user": request.user, "slot": number}


def _columns(keys: list[Key]) -> dict[str, Any]:
    kinds, targets, channels = (list(column) for column in zip(*keys, strict=True))
    return {"kinds": kinds, "targets": targets, "channels": channels}


# --- what a state is made of


def _key(state: im.SessionState) -> Key:
    channel = identifier(state.busChannel, may_be_empty=True)
    return conversation_kind(state.type), identifier(state.channelId), channel


def _push_key(request: Request) -> Key:
    """Whose notices a call of v2 is about; its name says the kind: blkPPush, blkDPush."""
    blocked = identifier(im.BlockPushInput.FromString(request.payload).blockeeId)
    return (PRIVATE if request.method.endswith("PPush") else GROUP), blocked, ""


def _items(state: bytes) -> Items:
    return {item.sessionStateType: item for item in im.SessionState.FromString(bytes(state)).stateItem}


def _setter(state: im.SessionState, generation: int) -> Edit:
    """What setSeAtt does to one conversation."""
    items = [im.SessionStateItem(sessionStateType=i.sessionStateType, value=i.value) for i in state.stateItem]
    if not items:
        raise ProtocolError("nothing to set")
    for item in items:
        if item.sessionStateType not in (SILENT, ON_TOP, TRANSLATED):
            raise ProtocolError(f"state type {item.sessionStateType}")
        value = text(item.value, VALUE_MAX)
        if item.sessionStateType == SILENT:
            item.value = _level(value, generation)
    return lambda kept: kept.update((item.sessionStateType, item) for item in items)


def _level(value: str, generation: int) -> str:
    if generation != LEVELS:
        return str(BLOCKED) if value == "1" else "0"
    try:
        level = int(value)
    except ValueError:
        raise ProtocolError("a level that is no number") from None
    if abs(level) > LEVEL_MAX:
        raise ProtocolError(f"level {level}")
    return str(level)


def _putter(item: im.SessionStateItem) -> Edit:
    return lambda items: items.update({item.sessionStateType: item})


def _tags(state: im.SessionState) -> dict[str, im.SessionTagItem]:
    """The tags that a call names for one conversation, by id."""
    found = {
        identifier(tag.tagId): tag
        for item in state.stateItem
        if item.sessionStateType == TAGS
        for tag in item.tags
    }
    if not found:
        raise ProtocolError("no tag")
    return found


def _add_tags(items: Items, tags: Mapping[str, im.SessionTagItem]) -> None:
    tagged = items.setdefault(TAGS, im.SessionStateItem(sessionStateType=TAGS, value=""))
    known = {tag.tagId: tag for tag in tagged.tags}
    for tag_id, tag in tags.items():
        kept = known.get(tag_id) or tagged.tags.add(tagId=tag_id)
        if tag.HasField("isTop"):
            kept.isTop = tag.isTop
    if len(tagged.tags) > TAGS_A_CONVERSATION:
        raise Refusal(AckStatus.TOO_MANY_TAGS)


def _drop_tags(items: Items, gone: Iterable[str]) -> None:
    tagged = items.get(TAGS)
    if tagged is not None:
        kept = [tag for tag in tagged.tags if tag.tagId not in gone]
        del tagged.tags[:]
        tagged.tags.extend(kept)


METHODS = {
    "pullSeAtts": pull,
    "setSeAtt": set_states,
    "setTypeUnpush": set_level,
    "addTag": add_tags,
    "delTag": remove_tags,
    "disTag": forget_tags,
    **dict.fromkeys(("blkPPush", "blkDPush"), block_push),
    **dict.fromkeys(("unblkPPush", "unblkDPush"), unblock_push),
    **dict.fromkeys(("qryPPush", "qryDPush"), is_blocked),
}
