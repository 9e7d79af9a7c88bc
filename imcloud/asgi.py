"""The ASGI application: Django for HTTP, the gateway for `/websocket` and long polling, the server API."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imcloud.settings")

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

pages = get_asgi_application()

from apps.messaging.server_api import direct
from apps.routing import comet, gateway
from apps.routing.process import running
from imcloud import scrape

# s after which a thread of a gateway lets another one in. The lanes' threads publish what the event loop has
# just given them while it shows the batch before: with Python's 5 ms they would wait for it to have done so.
SWITCH = 0.0003


async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """What comes by the thousand does without Django, whose request costs more than the answer."""
    if scope["path"] in comet.PATHS:
        await comet.serve(scope, receive, send)
    elif direct.is_call(scope):
        await direct.serve(scope, receive, send)
    else:
        await pages(scope, receive, send)


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Clients have one path; any other websocket is turned away before it is accepted."""
    if scope["path"].rstrip("/") == "/websocket":
        await gateway.websocket(scope, receive, send)
    else:
        await receive()
        await send({"type": "websocket.close"})


def prepare() -> None:
    """What a process does before it serves."""
    sys.setswitchinterval(SWITCH)
    # Each packet makes a handful of short-lived objects: with Python's default of 700 the collector walks
    # all connections many times a second.
    gc.set_threshold(20_000, 20, 100)
    scrape.token()  # its file is there before the first scraper comes


async def until_drained(end: Callable[[], None]) -> None:
    """Run this event loop's process, and `end` it when its access point is out of service and empty.

    Navigation learns of a gateway by its beat: it cannot wait for the first client.
    """
    process = await running()
    await process.drained.wait()
    end()


async def lifespan(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same as `manage.py serve` does, for servers that tell the application when they begin and end."""
    await receive()
    prepare()
    serving = asyncio.ensure_future(until_drained(partial(signal.raise_signal, signal.SIGTERM)))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    serving.cancel()
    await send({"type": "lifespan.shutdown.complete"})


application = ProtocolTypeRouter({"http": http, "websocket": websocket, "lifespan": lifespan})
