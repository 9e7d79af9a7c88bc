"""Asks navigation for gateways as the v4 SDK does: each navigator in turn, the answer a script."""

import asyncio
import http.client
import json
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

from bench.client import Navigate, websocket_url

TIMEOUT_SECONDS = 10.0  # per navigator


class NavigationFailed(OSError):
    """No navigator answered with an address."""


def navigation(navigators: Sequence[str], app_key: str, token: str, platform: str = "") -> Navigate:
    """What gives the websocket addresses of one device, the best first; `navigators` are http://host:port."""

    def ask() -> list[str]:
        for navigator in navigators:
            try:
                hosts = asked(navigator, app_key, token)
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                continue
            return [websocket_url(f"http://{host}", app_key, token, platform) for host in hosts]
        raise NavigationFailed(f"none of {len(navigators)} navigators answers")

    return lambda: asyncio.to_thread(ask)


def asked(navigator: str, app_key: str, token: str, **headers: str) -> list[str]:
    """The addresses that one navigator hands out, host:port each, the server first."""
    connection = http.client.HTTPConnection(urlsplit(navigator).netloc, timeout=TIMEOUT_SECONDS)
    try:
        query = urlencode({"appId": app_key, "token": token, "v": "4.6.4", "callBack": "getServerEndpoint"})
        connection.request("GET", f"/navi.js?{query}", headers=headers)
        script = connection.getresponse().read().decode()
    finally:
        connection.close()
    answer = json.loads(script[script.index("{") : script.rindex("}") + 1])
    return [answer["server"], *filter(None, answer["backupServer"].split(","))]
