"""Gets user tokens as an app's own server does: signed requests to /user/getToken."""

import hashlib
import http.client
import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

CONNECTIONS = 4
TIMEOUT_SECONDS = 30


class ApiRefused(RuntimeError):
    """The server API answered with another code than 200."""


@dataclass(frozen=True)
class App:
    """One tenant of one server: its address and the credentials of the app's own server."""

    url: str
    key: str
    secret: str

    def post(
        self, connection: http.client.HTTPConnection, path: str, **form: str | list[str]
    ) -> dict[str, Any]:
        """One signed call of the server API; returns the decoded reply or raises ApiRefused."""
        nonce, timestamp = str(random.getrandbits(53)), str(int(time.time() * 1000))
        signature = hashlib.sha1((self.secret + nonce + timestamp).encode()).hexdigest()
        headers = {
            "App-Key": self.key,
            "Nonce": nonce,
            "Timestamp": timestamp,
            "Signature": signature,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection.request("POST", path, urlencode(form, doseq=True), headers)
        body = connection.getresponse().read()
        try:
            reply: dict[str, Any] = json.loads(body)
        except ValueError:
            raise ApiRefused(f"{path}: {body[:300]!r}") from None
        if reply.get("code") != 200:
            raise ApiRefused(f"{path}: {reply}")
        return reply

    def tokens(self, users: Sequence[str]) -> dict[str, str]:
        """user id -> token, creating the users that do not exist."""
        shares = [users[start::CONNECTIONS] for start in range(CONNECTIONS)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return {user: token for share in pool.map(self._tokens, shares) for user, token in share.items()}

    def _tokens(self, users: Sequence[str]) -> dict[str, str]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=TIMEOUT_SECONDS)
        try:
            return {
                user: str(self.post(connection, "/user/getToken.json", userId=user, name=user)["token"])
                for user in users
            }
        finally:
            connection.close()
