"""Files of an hour's messages (`/message/history`): what a tenant's users said, for the tenant's own server.

A file is made when it is asked for, once the hour is over: a zip of one JSON object a line, each message
once, in the order of their times. The logs of all SETs of the cluster are read with cursors that the servers
hold, merged, and written as they come, so memory does not depend on how many there are. It takes a process
of its own (`manage.py history_file`), or a gateway would feel it.

Files are in the data folder, or in the tenant's bucket when there is a store of files. After KEPT they are
removed, and made again if somebody asks. One that was deleted is not.
"""

from __future__ import annotations

import heapq
import json
import logging
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import IntegrityError, connection
from django.utils import timezone

from apps.accounts.directory import TenantEntry
from apps.messaging import log
from apps.messaging.models import GROUPS, PERSISTED, RECALLED, TO_SELF, HistoryFile
from apps.routing import databases
from apps.routing.protocol.im_pb2 import UpStreamMessage

logger = logging.getLogger(__name__)

KEPT = timedelta(days=3)
SETTLE = log.SEEN_AHEAD  # ms after an hour in which a message of it may still be stored
FETCHED = 200  # rows that each log is asked for at once
FOLDER = "history"

_ITS = f"""
    FROM messaging_message WHERE tenant = %s AND sent >= %s AND sent < %s AND kind > 0
      AND flags & {PERSISTED | RECALLED | TO_SELF} = {PERSISTED}"""
_ANY = f"SELECT EXISTS (SELECT {_ITS})"
_HOUR = f'SELECT sent, uid, kind, sender, target, up {_ITS} ORDER BY sent, uid COLLATE "C"'


def bounds(hour: str) -> tuple[int, int]:
    """ms at which an hour yyyyMMddHH of the installation's time zone begins and ends; ValueError for none.

    One that clocks show twice, when they are set back, is both together.
    """
    at = datetime.strptime(hour, "%Y%m%d%H") if len(hour) == 10 and hour.isdecimal() else None
    if at is None or not 1970 < at.year < 9999:
        raise ValueError(f"{hour} is no hour")
    zone = timezone.get_default_timezone()
    first, again = (at.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    return int(first * 1000), int((again + 3600) * 1000)


def is_over(hour: str) -> bool:
    return bounds(hour)[1] + SETTLE < log.now()


def find(tenant: int, hour: str) -> HistoryFile | None:
    return HistoryFile.objects.filter(tenant=tenant, hour=hour).first()


def may_be(tenant: int, hour: str, sets: list[str]) -> bool:
    """Whether there are messages of the hour; also when a log does not tell in time."""
    for server_set in sets:
        try:
            if log.of(server_set).read(_ANY, (tenant, *bounds(hour)), within=0.0)[0][0]:
                return True
        except log.Unavailable as error:
            logger.warning("history of %s: %s", hour, error)
            return True
    return False


def delete(tenant: int, hour: str) -> None:
    """Remove an hour's file, and never make it again."""
    HistoryFile.objects.bulk_create(
        [HistoryFile(tenant=tenant, hour=hour, token=secrets.token_urlsafe(32), deleted=True)],
        update_conflicts=True,
        unique_fields=("tenant", "hour"),
        update_fields=("deleted",),
    )
    found = find(tenant, hour)
    if found is not None:
        _remove(found)


def sweep() -> None:
    """Timed: remove what is older than KEPT."""
    old = HistoryFile.objects.filter(deleted=False, made_at__lt=timezone.now() - KEPT)
    for each in old:
        _remove(each)
        each.delete()


# --- where a file is


def path(file: HistoryFile) -> Path:
    folder: Path = settings.HISTORY_FOLDER
    return folder / str(file.tenant) / f"{file.hour}-{file.token}.zip"


def key(file: HistoryFile) -> str:
    """Its name in the tenant's bucket, in which clients may fetch what they know the name of."""
    return f"{FOLDER}/{file.hour}-{file.token}.zip"


def _remove(file: HistoryFile) -> None:
    path(file).unlink(missing_ok=True)
    if settings.STORAGE_URL:
        from apps.messaging import storage  # it is large, and most have no store

        storage.delete(file.tenant, key(file))


# --- making one


def make(tenant: TenantEntry, hour: str, sets: list[str]) -> HistoryFile | None:
    """The hour's file, made if it is not there; None when there are no messages, or it was deleted.

    Of several that make the same one, the others wait for the first.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, %s))", (hour, tenant.id))
        try:
            return find(tenant.id, hour) or _make(tenant, hour, sets)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, %s))", (hour, tenant.id))


def _make(tenant: TenantEntry, hour: str, sets: list[str]) -> HistoryFile | None:
    file = HistoryFile(tenant=tenant.id, hour=hour, token=secrets.token_urlsafe(32))
    whole = path(file)
    whole.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in whole.parent.glob("*.part"):  # by a process that was killed
        if left.name.startswith(hour):
            left.unlink(missing_ok=True)
    part = whole.with_suffix(".part")
    try:
        if not _write(part, hour, lines(tenant, hour, sets)):
            return None
        if settings.STORAGE_URL:
            from apps.messaging import storage  # as above

            storage.upload(tenant.id, key(file), part)
        else:
            part.rename(whole)
        file.save(force_insert=True)
    except IntegrityError:  # it was deleted meanwhile
        _remove(file)
        return None
    finally:
        part.unlink(missing_ok=True)
    logger.info("history of %s of tenant %d made", hour, tenant.id)
    return file


def _write(part: Path, hour: str, its: Iterator[bytes]) -> bool:
    """Write a zip; False when there is nothing to be in it."""
    first = next(its, None)
    if first is None:
        return False
    with (
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{hour}.txt", "w", force_zip64=True) as text,
    ):
        text.write(first)
        for line in its:
            text.write(line)
    return True


def lines(tenant: TenantEntry, hour: str, sets: list[str]) -> Iterator[bytes]:
    """A line for each message of the hour. A copy has the uid and the time of its message: it comes next."""
    with ExitStack() as open_:
        logs = []
        for number, server_set in enumerate(sets):
            held = open_.enter_context(psycopg.connect(databases.url(server_set), connect_timeout=5))
            cursor = open_.enter_context(held.cursor(f"history{number}"))
            cursor.itersize = FETCHED
            cursor.execute(_HOUR, (tenant.id, *bounds(hour)))
            logs.append(cursor)
        last = ""
        for row in heapq.merge(*logs, key=itemgetter(0, 1)):
            if row[1] != last:
                last = row[1]
                yield _line(tenant.app_key, *row)


def _line(app_key: str, sent: int, uid: str, kind: int, sender: str, target: str, up: bytes) -> bytes:
    message = UpStreamMessage.FromString(up)
    at = timezone.localtime(datetime.fromtimestamp(sent / 1000, timezone.get_default_timezone()))
    its: dict[str, Any] = {
        "appId": app_key,
        "fromUserId": sender,
        "targetId": target,
        "targetType": kind,
        "GroupId": target if kind in GROUPS else "",
        "classname": message.classname,
        "content": message.content.decode(errors="replace"),
        "dateTime": at.isoformat(" ", "milliseconds")[:23],
        "msgTimestamp": sent,
        "msgUID": uid,
        "busChannel": message.busChannel,
    }
    return json.dumps(its, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
