"""`manage.py serve`: the web pages, the APIs and the gateway in one Daphne process."""

# First of all: it installs Twisted's asyncio reactor, and the first import of a reactor wins.
from daphne.server import Server  # isort:skip

import math
from typing import Any

from autobahn.twisted import websocket
from autobahn.websocket import protocol
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.routing.protocol.packets import MAX_FRAME

BACKLOG = 4096  # connections that wait to be accepted, when thousands of clients come back at once


def spare_colours() -> None:
    """Leave out the colours of Autobahn's debug lines: it makes them for every chunk, also when nobody logs.

    They were an eighth of the gateway's time.
    """
    for module in (protocol, websocket):
        for painter in ("hltype", "hlval"):
            setattr(module, painter, lambda value: value)


class BoundedServer(Server):  # type: ignore[misc]
    """Daphne, which buffers without a bound: the application is told how much a client has not read."""

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        def unsent() -> int:
            transport = protocol.transport
            return len(transport.dataBuffer) + transport._tempDataLen

        return super().create_application(protocol, scope | {"imcloud.unsent": unsent})


class Command(BaseCommand):
    help = "Serve web pages, APIs and client sockets on IMCLOUD_BIND and IMCLOUD_PORT."
    requires_system_checks = []  # `run` has made them; they take longer than everything else here

    def handle(self, *args: Any, **options: Any) -> None:
        from imcloud.asgi import application

        spare_colours()
        interface = settings.CONFIG.bind.replace(":", r"\:")
        server = BoundedServer(
            application=application,
            endpoints=[f"tcp:port={settings.CONFIG.port}:interface={interface}:backlog={BACKLOG}"],
            # Clients ping, and the gateway ends those that do not. -1: no connection is too old.
            websocket_timeout=-1,
            ping_interval=math.inf,
            websocket_max_message_size=MAX_FRAME,
            websocket_max_frame_size=MAX_FRAME,
            action_logger=None,
            server_name="",
        )
        server.run()
        if not server.listening_addresses:
            raise CommandError(f"cannot listen on {settings.CONFIG.bind} port {settings.CONFIG.port}")
