"""What watchers are told of users: who is online, on which platform (PROTOCOL 4.9).

Presence itself is in Redis. A row of OnlineStatus, in the user's home SET, is what it was when those who
watch him (Watch) were told last; there is one for who is watched, or calls himself something. v2 is sent the
status itself, `s_stat`; v5 `s_cmd` 8, upon which it asks what has changed after its version.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from apps.messaging import log, own_state
from apps.routing import hints, presence
from apps.routing.hints import Signal
from apps.routing.protocol import im_pb2 as im
from apps.routing.topology import home, slot

DATA_CHANGED = 8  # NotifyMsg.type
ONLINE_STATUS = 1  # SubDataDetail.subType; the others are about profiles
ONE_WAY, BY_VERSION = 2, 5  # generations of Watch: told by s_stat; told by s_cmd, and asking then
KEPT = 24 * 3600_000  # ms that a status without watchers, and the trace of an ended subscription, stay
SIGNALS_A_HINT = 500
PAGE = 1000  # statuses that `reconcile` looks at together
NOTED = 60  # s that users who were missing at its last look are remembered
PLATFORMS = {"iOS": 1, "Android": 2, "Web": 3, "PC": 4, "MiniProgram": 5, "HarmonyOS": 6}  # others are 0

User = tuple[int, str]  # tenant, user id


class Platform(NamedTuple):
    """What is known of a user on one platform."""

    status: int  # 0: offline; 1: online; above: what he calls himself
    changed: int  # ms


Platforms = dict[str, Platform]
OFFLINE = Platform(0, 0)


# --- reading

_STATUSES = """
    SELECT "user", platforms, changed FROM messaging_onlinestatus
    WHERE tenant = %s AND "user" = ANY(%s::varchar[]) AND changed > %s"""


def by_home(tenant: int, users: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for user in users:
        found[home(tenant, user)].append(user)
    return found


def statuses(tenant: int, users: Iterable[str], since: int) -> dict[str, tuple[Platforms, int]]:
    """What watchers were told of these users, and when, if it was after `since`."""
    found = {}
    for name, its in by_home(tenant, users).items():
        for user, platforms, changed in log.of(name).read(_STATUSES, (tenant, its, since)):
            found[user] = (_unpack(platforms), changed)
    return found


def current(tenant: int, users: list[str]) -> dict[str, Platforms]:
    """What these users are; of those whom nobody watches presence knows."""
    told = statuses(tenant, users, -1)
    unknown = [user for user in users if user not in told]
    here: dict[str, Platforms] = {}
    for user, sessions in zip(unknown, presence.sessions(tenant, unknown), strict=True):
        here[user] = {session.platform: Platform(1, session.since) for session in sessions}
    return {user: told[user][0] if user in told else here[user] for user in users}


def _unpack(platforms: bytes) -> Platforms:
    return {name: Platform(*its) for name, its in msgpack.unpackb(bytes(platforms)).items()}


def detail(user: str, platforms: Platforms) -> im.SubDataDetail:
    by_code: dict[int, Platform] = {}
    for name, its in platforms.items():
        code = PLATFORMS.get(name, 0)
        before = by_code.get(code, OFFLINE)
        by_code[code] = Platform(max(its.status, before.status), max(its.changed, before.changed))
    data = [
        im.SubData(platformInfo=code, value=int(its.status > 0), versionTime=its.changed)
        for code, its in sorted(by_code.items())
    ]
    return im.SubDataDetail(subUserId=user, subType=ONLINE_STATUS, data=data)


def v2_status(platforms: Platforms) -> str:
    known = platforms or {"Web": OFFLINE}
    us = [{"o": int(its.status > 0), "p": name, "s": its.status} for name, its in sorted(known.items())]
    return json.dumps({"us": us}, ensure_ascii=False, separators=(",", ":"))


# --- changing

_KNOWN = """
    SELECT tenant, "user" FROM messaging_onlinestatus
    JOIN unnest(%s::int8[], %s::varchar[]) AS w(tenant, "user") USING (tenant, "user")"""
_LOCK = """
    SELECT tenant, "user", platforms, changed FROM messaging_onlinestatus
    JOIN unnest(%s::int8[], %s::varchar[]) AS w(tenant, "user") USING (tenant, "user")
    ORDER BY tenant, "user" FOR UPDATE OF messaging_onlinestatus"""
_MAKE = """
    INSERT INTO messaging_onlinestatus (tenant, "user", slot, platforms, changed)
    SELECT tenant, "user", slot, %(nothing)s, 0
    FROM unnest(%(tenants)s::int8[], %(users)s::varchar[], %(slots)s::int2[]) AS w(tenant, "user", slot)
    ON CONFLICT DO NOTHING"""
_MOVE = """
    UPDATE messaging_onlinestatus AS known SET platforms = w.platforms, changed = w.changed
    FROM unnest(%s::int8[], %s::varchar[], %s::bytea[], %s::int8[]) AS w(tenant, "user", platforms, changed)
    WHERE known.tenant = w.tenant AND known."user" = w."user" """
_WATCHERS = """
    SELECT tenant, "user", watcher, generation FROM messaging_watch
    JOIN unnest(%s::int8[], %s::varchar[]) AS w(tenant, "user") USING (tenant, "user") WHERE until > %s"""


def refresh(
    server_set: str,
    users: Collection[User],
    *,
    settled: bool,
    make: bool = False,
    named: Mapping[str, int] | None = None,
) -> None:
    """Note what users are now, and tell their watchers what has changed. Of users that nobody watches nothing
    is noted, unless `make`. `settled`: those who are gone have been so for a while. `named`: what the users
    call themselves on platforms.
    """
    watched = sorted(users) if make else _known(server_set, users)
    if not watched or not presence.live_gateways():  # Redis has just been wiped: nobody knows
        return
    online = _online(watched)
    now = log.now()

    def work(connection: Any) -> list[tuple[User, Platforms]]:
        if make:
            _make(connection, watched)
        changed: list[tuple[User, Platforms, int]] = []
        for tenant, user, packed, at in connection.execute(_LOCK, _columns(watched)).fetchall():
            before = _unpack(packed)
            after = _after(before, online[tenant, user], max(now, at + 1), settled=settled, named=named or {})
            if after != before:
                changed.append(((tenant, user), after, max(now, at + 1)))
        if changed:
            packed_new = [msgpack.packb(after) for _, after, _ in changed]
            times = [at for _, _, at in changed]
            connection.execute(_MOVE, (*_columns([key for key, _, _ in changed]), packed_new, times))
        return [(key, after) for key, after, _ in changed]

    changed = log.of(server_set).run(work, within=own_state.WITHIN)
    _tell_watchers(server_set, dict(changed), now)


def _known(server_set: str, users: Collection[User]) -> list[User]:
    if not users:
        return []
    return sorted(log.of(server_set).read(_KNOWN, _columns(sorted(users))))


def _columns(users: Sequence[User]) -> tuple[list[int], list[str]]:
    return [tenant for tenant, _ in users], [user for _, user in users]


def _make(connection: Any, users: Sequence[User]) -> None:
    tenants, names = _columns(users)
    slots = [slot(str(tenant), user) for tenant, user in users]
    parameters = {"tenants": tenants, "users": names, "slots": slots, "nothing": msgpack.packb({})}
    connection.execute(_MAKE, parameters)


def _online(users: Sequence[User]) -> dict[User, set[str]]:
    """The platforms that each of the users is on."""
    by_tenant: dict[int, list[str]] = defaultdict(list)
    for tenant, user in users:
        by_tenant[tenant].append(user)
    return {
        (tenant, user): {session.platform for session in sessions}
        for tenant, names in by_tenant.items()
        for user, sessions in zip(names, presence.sessions(tenant, names), strict=True)
    }


def _after(
    before: Platforms, online: set[str], at: int, *, settled: bool, named: Mapping[str, int]
) -> Platforms:
    after = dict(before)
    for name in online:
        known = before.get(name, OFFLINE).status
        status = named.get(name, known or 1)
        if status != known:
            after[name] = Platform(status, at)
    if settled:
        after.update((name, Platform(0, at)) for name in _went(before, online))
    return after


def _went(before: Platforms, online: set[str]) -> list[str]:
    """The platforms that the user was on, and is not."""
    return [name for name, its in before.items() if its.status and name not in online]


def _came(before: Platforms, online: set[str]) -> list[str]:
    """The platforms that the user is on, and was not."""
    return [name for name in online if not before.get(name, OFFLINE).status]


def _tell_watchers(server_set: str, changed: Mapping[User, Platforms], at: int) -> None:
    if not changed:
        return
    rows = log.of(server_set).read(_WATCHERS, (*_columns(list(changed)), at))
    signals: list[Signal] = []
    asked: set[User] = set()
    notice = im.NotifyMsg(type=DATA_CHANGED, time=at).SerializeToString()
    for tenant, user, watcher, generation in rows:
        if generation == ONE_WAY:
            shown = im.GetUserStatusOutput(status=v2_status(changed[tenant, user]), subUserId=user)
            signals.append(Signal(tenant, watcher, "s_stat", shown.SerializeToString()))
        elif (tenant, watcher) not in asked:
            asked.add((tenant, watcher))
            signals.append(Signal(tenant, watcher, "s_cmd", notice))
    for start in range(0, len(signals), SIGNALS_A_HINT):
        hints.signal(signals[start : start + SIGNALS_A_HINT])


# --- timed

_NEXT = """
    SELECT tenant, "user", platforms FROM messaging_onlinestatus WHERE (tenant, "user") > (%s, %s)
    ORDER BY tenant, "user" LIMIT %s"""
_FORGET = (
    "DELETE FROM messaging_watch WHERE until < %(now)s",
    "DELETE FROM messaging_subscription WHERE since + expiry * 1000::int8 < %(now)s - %(kept)s",
    """DELETE FROM messaging_onlinestatus s WHERE changed < %(now)s - %(kept)s AND NOT EXISTS (
         SELECT 1 FROM messaging_watch w WHERE w.tenant = s.tenant AND w."user" = s."user")""",
)


def reconcile(server_set: str) -> None:
    """Tell watchers what no gateway has told: users of one that died did not come back. They are noted at one
    look, and count as gone at the next one; in between they may have been loading their pages anew.
    """
    key = f"imcloud:missing:{server_set}"
    noted: Any = presence.client().get(key)
    before = {(tenant, user) for tenant, user in msgpack.unpackb(noted)} if noted else set()
    missing: list[User] = []
    last: User = (0, "")
    while rows := log.of(server_set).read(_NEXT, (*last, PAGE)):
        told = {(tenant, user): _unpack(platforms) for tenant, user, platforms in rows}
        online = _online(list(told))
        gone = [user for user, its in told.items() if _went(its, online[user])]
        came = [user for user, its in told.items() if _came(its, online[user])]
        refresh(server_set, came, settled=False)
        refresh(server_set, [user for user in gone if user in before], settled=True)
        missing += gone
        last = (rows[-1][0], rows[-1][1])
    presence.client().set(key, msgpack.packb(missing), ex=NOTED)


def forget(server_set: str) -> None:
    """Remove what has ended a while ago."""

    def work(connection: Any) -> None:
        for sql in _FORGET:
            connection.execute(sql, {"now": log.now(), "kept": KEPT})

    log.of(server_set).run(work, within=own_state.WITHIN)
