"""Online status (PROTOCOL 4.9): who watches whom, and what they ask. What they are told is online_status'.

    Subscription  in the home SET of the one who watches: his list, which his devices pull
    Watch         in the home SET of the one who is watched: whom to tell

A subscription is written to his list first, then to the SETs of those he watches. One of these SETs may be
away: the call is refused as busy, the list names users whose changes are not told yet, and the SDK's next try
makes it whole, since each part may be done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgpack

from apps.messaging import log, online_status, own_state
from apps.messaging.online_status import BY_VERSION, ONE_WAY, ONLINE_STATUS
from apps.messaging.own_state import Refusal, answers, identifier, later
from apps.routing import hints, presence
from apps.routing.envelope import Answer, Request
from apps.routing.hints import Signal
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import slot

LIST_CHANGED = 9  # NotifyMsg.type
SUBSCRIBE, UNSUBSCRIBE = 0, 1  # UpdateUserSubReq.opType
USERS_A_CALL = 200
SUBSCRIPTIONS_MAX = 1000  # users whom one watches
WATCHERS_MAX = 5000  # users who watch one
EXPIRY_MAX = 30 * 24 * 3600  # s; also of a subscription of v2, which names none
STATUS_MAX = 255  # of what a user of v2 may call himself
# ms before a device's version that it is shown again: clocks of SETs differ, and commits take time.
OVERLAP = 3_000
_NOW = 1 << 62  # later than every version


# --- subscribing


@answers
def update(server_set: str, request: Request) -> im.UpdateUserSubResp:
    """updUserSub of v5."""
    wanted = im.UpdateUserSubReq.FromString(request.payload)
    if wanted.subType != ONLINE_STATUS:
        raise Refusal(AckStatus.SUBSCRIPTION_OFF)
    users = _users(user.subUserId for user in wanted.subUsers)
    if wanted.opType == UNSUBSCRIBE:
        return im.UpdateUserSubResp(subTime=_unsubscribe(server_set, request, users))
    if wanted.opType != SUBSCRIBE or wanted.expiry <= 0:
        raise ProtocolError("a subscription without an end")
    expiry = min(wanted.expiry, EXPIRY_MAX)
    return im.UpdateUserSubResp(subTime=_subscribe(server_set, request, users, BY_VERSION, expiry))


@answers
def subscribe(server_set: str, request: Request) -> im.SubUserStatusOutput:
    """subUserStatus of v2."""
    users = _users(im.SubUserStatusInput.FromString(request.payload).userid)
    _subscribe(server_set, request, users, ONE_WAY, EXPIRY_MAX)
    return im.SubUserStatusOutput(nothing=0)


def _users(given: Iterable[str]) -> list[str]:
    users = sorted({identifier(user) for user in given})  # one lock order for all writers
    if not 0 < len(users) <= USERS_A_CALL:
        raise ProtocolError(f"{len(users)} users in a call")
    return users


_NEWEST = """
    SELECT COALESCE(max(since), 0), count(*) FILTER (
      WHERE generation = %(generation)s AND since + expiry * 1000::int8 > %(now)s
        AND watched <> ALL(%(users)s::varchar[]))
    FROM messaging_subscription WHERE tenant = %(tenant)s AND "user" = %(user)s"""
_SUBSCRIBE = """
    INSERT INTO messaging_subscription (tenant, "user", slot, watched, generation, since, expiry)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, watched, %(generation)s::int2,
           %(since)s::int8, %(expiry)s::int4
    FROM unnest(%(users)s::varchar[]) AS watched
    ON CONFLICT (tenant, "user", watched, generation) DO UPDATE
    SET since = EXCLUDED.since, expiry = EXCLUDED.expiry"""
_UNSUBSCRIBE = """
    UPDATE messaging_subscription SET since = %(since)s, expiry = 0
    WHERE tenant = %(tenant)s AND "user" = %(user)s AND generation = %(generation)s AND expiry > 0
      AND watched = ANY(%(users)s::varchar[])"""
# Those who have too many watchers already are left out.
_WATCH = """
    INSERT INTO messaging_watch AS known (tenant, "user", slot, watcher, generation, until)
    SELECT %(tenant)s::int8, watched, slot, %(user)s::varchar, %(generation)s::int2, %(until)s::int8
    FROM unnest(%(users)s::varchar[], %(slots)s::int2[]) AS w(watched, slot)
    WHERE (SELECT count(*) FROM messaging_watch others
           WHERE others.tenant = %(tenant)s AND others."user" = watched AND others.until > %(now)s
             AND others.watcher <> %(user)s) < %(most)s
    ON CONFLICT (tenant, "user", watcher, generation) DO UPDATE SET until = EXCLUDED.until
    RETURNING known."user" """
_UNWATCH = """
    DELETE FROM messaging_watch
    WHERE tenant = %(tenant)s AND "user" = ANY(%(users)s::varchar[]) AND watcher = %(user)s
      AND generation = %(generation)s"""


def _subscribe(server_set: str, request: Request, users: list[str], generation: int, expiry: int) -> int:
    """Watch these users; the version of the list. Raises Refusal with those who have too many watchers."""
    since = _put_list(server_set, request, users, generation, expiry)
    refused: list[str] = []
    for name, its in online_status.by_home(request.tenant, users).items():
        parameters = _parameters(request, its, generation)
        until, most = since + expiry * 1000, WATCHERS_MAX
        taken = _in_set(name, its, request.tenant, _WATCH, parameters | {"until": until, "most": most})
        refused += sorted(set(its) - {user for (user,) in taken})
        # From now on it is noted what they are; until now nobody may have asked.
        watched = [(request.tenant, user) for user in its if user not in refused]
        online_status.refresh(name, watched, settled=False, make=True)
    if refused:
        since = _put_list(server_set, request, refused, generation, 0)
    _tell_list(request, since)
    if refused:
        rejected = [im.UserSubDetail(subUserId=user) for user in refused]
        raise Refusal(AckStatus.WATCHERS_LIMIT, im.UpdateUserSubResp(subUsers=rejected, subTime=since))
    return since


def _unsubscribe(server_set: str, request: Request, users: list[str]) -> int:
    since = _put_list(server_set, request, users, BY_VERSION, 0)
    for name, its in online_status.by_home(request.tenant, users).items():
        _in_set(name, its, request.tenant, _UNWATCH, _parameters(request, its, BY_VERSION))
    _tell_list(request, since)
    return since


def _parameters(request: Request, users: Sequence[str], generation: int) -> dict[str, Any]:
    return {
        "tenant": request.tenant,
        "user": request.user,
        "users": list(users),
        "generation": generation,
        "now": log.now(),
    }


def _put_list(server_set: str, request: Request, users: list[str], generation: int, expiry: int) -> int:
    """Write to the asker's own list; expiry 0: they leave it. Its version."""

    def work(cursor: Any) -> int:
        parameters = _parameters(request, users, generation)
        cursor.execute(_NEWEST, parameters)
        newest, others = cursor.fetchone()
        if expiry and others + len(users) > SUBSCRIPTIONS_MAX:
            raise Refusal(AckStatus.SUBSCRIPTIONS_LIMIT)
        since = later(newest)
        number = slot(str(request.tenant), request.user)
        parameters |= {"since": since, "expiry": expiry, "slot": number}
        cursor.execute(_SUBSCRIBE if expiry else _UNSUBSCRIBE, parameters)
        return since

    return own_state.change(server_set, request, work)


def _in_set(
    server_set: str, users: Sequence[str], tenant: int, sql: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Write for users of another SET, if it is theirs."""
    slots = [slot(str(tenant), user) for user in users]

    def work(connection: Any) -> list[tuple[Any, ...]]:
        (owned,) = connection.execute("SELECT slots FROM messaging_head FOR SHARE").fetchone()
        if not all(log.owns(owned, number) for number in slots):
            raise Refusal(AckStatus.BUSY)  # a slot is on its way; the next try will find it
        cursor = connection.execute(sql, {**parameters, "slots": slots})
        return list(cursor.fetchall()) if cursor.description else []

    return log.of(server_set).run(work, within=own_state.WITHIN)


def _tell_list(request: Request, since: int) -> None:
    """The user's other devices are to pull his list."""
    notice = im.NotifyMsg(type=LIST_CHANGED, time=since).SerializeToString()
    hints.signal([Signal(request.tenant, request.user, "s_cmd", notice, but=request.connection)])


# --- pulling

_LIST = """
    SELECT watched, since, expiry FROM messaging_subscription
    WHERE tenant = %(tenant)s AND "user" = %(user)s AND generation = %(generation)s
      AND (since + expiry * 1000::int8 > %(now)s OR expiry = 0 AND since > %(version)s)
    ORDER BY since, watched"""


@answers
def pull_list(server_set: str, request: Request) -> im.PullUserSubResp:
    """pullUserSub: always the whole list, since after a reconnect v5 replaces its own by it; and those who
    left it after the device's version.
    """
    version = im.PullUserSubReq.FromString(request.payload).version
    reply = im.PullUserSubResp(version=version, hasNext=False, isFull=True)
    groups: dict[tuple[int, int], im.UserSubList] = {}
    for watched, since, expiry in _list(server_set, request, version):
        group = groups.get((since, expiry))
        if group is None:
            kind = SUBSCRIBE if expiry else UNSUBSCRIBE
            group = groups[since, expiry] = reply.list.add(
                subType=ONLINE_STATUS, subTime=since, expiry=expiry, opType=kind
            )
        group.subUsers.add(subUserId=watched)
        reply.version = max(reply.version, since)
    return reply


@answers
def pull_data(server_set: str, request: Request) -> im.PullSubDataResp:
    """pullSubData: what has changed of those whom the asker watches; v5 shows nothing of a full reply."""
    wanted = im.PullSubDataReq.FromString(request.payload)
    since = 0 if wanted.needAllData else max(wanted.versionTime - OVERLAP, 0)
    watched = [user for user, _, expiry in _list(server_set, request, _NOW)]
    statuses = online_status.statuses(request.tenant, watched, since)
    newest = max([wanted.versionTime, *(changed for _, changed in statuses.values())])
    shown = [online_status.detail(user, platforms) for user, (platforms, _) in statuses.items()]
    return im.PullSubDataResp(list=shown, versionTime=newest, hasNext=False, isFull=wanted.needAllData)


@answers
def query_data(server_set: str, request: Request) -> im.PullSubDataResp:
    """qrySubData: what these users are now, watched or not."""
    wanted = im.QrySubDataReq.FromString(request.payload)
    if wanted.subType != ONLINE_STATUS:
        raise Refusal(AckStatus.SUBSCRIPTION_OFF)
    users = _users(user.subUserId for user in wanted.subUsers)
    now = online_status.current(request.tenant, users)
    shown = [online_status.detail(user, platforms) for user, platforms in now.items()]
    return im.PullSubDataResp(list=shown, versionTime=log.now(), hasNext=False, isFull=True)


@answers
def query_status(server_set: str, request: Request) -> im.GetUserStatusOutput:
    """getUserStatus of v2; its target is the one who is meant."""
    im.GetUserStatusInput.FromString(request.payload)
    user = identifier(request.target)
    now = online_status.current(request.tenant, [user])
    return im.GetUserStatusOutput(status=online_status.v2_status(now[user]), subUserId=user)


def _list(server_set: str, request: Request, version: int) -> list[tuple[str, int, int]]:
    parameters = _parameters(request, (), BY_VERSION) | {"version": version}
    return log.of(server_set).read(_LIST, parameters)


# --- changing


def presence_changed(server_set: str, request: Request) -> Answer:
    """Asked by gateways (apps.routing.presence_news): [settled, [[tenant, user], ...]], users of this SET who
    have come or gone. Who came is shown at once, who has gone when it has settled.
    """
    settled, users = msgpack.unpackb(request.payload)
    online_status.refresh(server_set, [(tenant, user) for tenant, user in users], settled=settled)
    return Answer(0, 0)


@answers
def set_status(server_set: str, request: Request) -> im.SetUserStatusOutput:
    """setUserStatus of v2: what the user calls himself on the platform of the connection."""
    wanted = im.SetUserStatusInput.FromString(request.payload)
    if not wanted.HasField("status") or not 0 < wanted.status <= STATUS_MAX:
        raise ProtocolError("a status that is none")
    (sessions,) = presence.sessions(request.tenant, [request.user])
    platform = next((s.platform for s in sessions if s.connection == request.connection), "Web")
    online_status.refresh(
        server_set,
        [(request.tenant, request.user)],
        settled=False,
        make=True,
        named={platform: wanted.status},
    )
    return im.SetUserStatusOutput(nothing=0)


METHODS = {
    "updUserSub": update,
    "pullUserSub": pull_list,
    "pullSubData": pull_data,
    "qrySubData": query_data,
    "subUserStatus": subscribe,
    "getUserStatus": query_status,
    "setUserStatus": set_status,
}
