"""The ASGI application: Django for HTTP, the gateway for `/websocket` and long polling, the server API."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imcloud.settings")

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

pages = get_asgi_application()

from apps.messaging.server_api import direct
from apps.routing import comet, gateway


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


application = ProtocolTypeRouter({"http": http, "websocket": websocket})
