"""`/message/history…`: the URL of the file of an hour's messages, and the file behind it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from channels.db import database_sync_to_async
from django.conf import settings
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_GET

from apps.messaging import history_files
from apps.messaging.models import HistoryFile
from apps.messaging.server_api.declarations import (
    INTERNAL,
    TIMEOUT,
    Answer,
    Call,
    Param,
    Refused,
    described,
    endpoint,
)
from apps.messaging.server_api.homes import sets_of

MADE_WITHIN = 8.0  # s that a call waits for a file to be made; SDKs wait for 10
WAITING_MAX = 16  # files that are waited for to be made, one after the other
BLOCK = 1 << 16  # bytes of a file that are read at once
UNSENT_MAX = 1 << 20  # bytes that a slow downloader may leave with the server
PAUSE = 0.05  # s between two looks at them

_makers = ThreadPoolExecutor(1, thread_name_prefix="history-files")
_making: dict[tuple[str, str], Future[Any]] = {}  # (app key, hour); touched on the event loop alone


@described(type="string", pattern="^[0-9]{10}$", examples=["2026013112"])
def an_hour(given: str) -> str:
    try:
        history_files.bounds(given)
    except ValueError:
        raise ValueError("must be an hour, yyyyMMddHH") from None
    return given


DATE = Param("date", an_hour, required=True)


def _in_thread(function: Any) -> Any:
    return database_sync_to_async(function, thread_sensitive=False)


@endpoint(
    "/message/history",
    DATE,
    answer={"url": "https://im.example.com/history/dHJhbnNjcmlwdA/2026112510.zip", "date": "2026112510"},
)
async def history(call: Call) -> Answer:
    """Where the file of an hour's messages is; an empty URL when there are none, or the hour is not over."""
    file = await _in_thread(_find)(call)
    if isinstance(file, HistoryFile):
        return {"url": _url(call, file), "date": call["date"]}
    if not file:
        return {"url": "", "date": call["date"]}
    await _made(call.tenant.app_key, call["date"])
    file = await _in_thread(history_files.find)(call.tenant.id, call["date"])
    return {"url": _url(call, file) if file else "", "date": call["date"]}


def _find(call: Call) -> HistoryFile | bool:
    """The file; else whether one is to be made."""
    found = history_files.find(call.tenant.id, call["date"])
    if found is not None:
        return found
    return history_files.is_over(call["date"]) and history_files.may_be(
        call.tenant.id, call["date"], sets_of(call.tenant)
    )


def _url(call: Call, file: HistoryFile) -> str:
    if file.deleted:
        return ""
    if settings.STORAGE_URL:
        from apps.messaging import storage  # it is large, and most have no store

        return storage.download_url(file.tenant, history_files.key(file), f"{file.hour}.zip")
    return f"{call.base}/history/{file.token}/{file.hour}.zip"


async def _made(app_key: str, hour: str) -> None:
    """Have the file made; raises Refused when that takes longer than a call waits."""
    key = (app_key, hour)
    for known in [each for each, making in _making.items() if making.done()]:
        del _making[known]
    if key not in _making:
        if len(_making) >= WAITING_MAX:
            raise Refused(INTERNAL, "Too many files are being made, please retry.")
        _making[key] = _makers.submit(_make, app_key, hour)
    try:
        done = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(_making[key])), MADE_WITHIN)
    except TimeoutError:
        raise Refused(TIMEOUT, "The file is being made, please ask again.") from None
    if done.returncode:
        raise Refused(INTERNAL, "The file could not be made, please retry.")


def _make(app_key: str, hour: str) -> Any:
    command = [sys.executable, "-m", "django", "history_file", app_key, hour]
    return subprocess.run(command, cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL, check=False)


@endpoint("/message/history/delete", DATE)
def delete(call: Call) -> Answer:
    """Delete the file of an hour's messages for good. The messages stay in their conversations."""
    if _find(call):
        history_files.delete(call.tenant.id, call["date"])
    return {}


# --- the file


@require_GET
async def download(request: HttpRequest, token: str, hour: str) -> StreamingHttpResponse:
    """A file that is not in a store, for who knows its URL."""
    file, size = await _in_thread(_opened)(token, hour)
    unsent = getattr(request, "scope", {}).get("imcloud.unsent", lambda: 0)
    response = StreamingHttpResponse(_blocks(file, unsent), content_type="application/zip")
    response["Content-Length"] = size
    response["Content-Disposition"] = f'attachment; filename="{hour}.zip"'
    return response


def _opened(token: str, hour: str) -> tuple[BinaryIO, int]:
    """The file and its size; Http404."""
    found = HistoryFile.objects.filter(token=token, hour=hour, deleted=False).first()
    try:
        if found is not None:
            path = history_files.path(found)
            return path.open("rb"), path.stat().st_size
    except FileNotFoundError:
        pass
    raise Http404("There is no such file.")


async def _blocks(file: BinaryIO, unsent: Callable[[], int]) -> AsyncIterator[bytes]:
    """Read as fast as the client does: some servers would take all of it into memory."""
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK):
            yield block
            while unsent() > UNSENT_MAX:  # noqa: ASYNC110  (nobody tells when it is sent)
                await asyncio.sleep(PAUSE)
