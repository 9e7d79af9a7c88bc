"""Connection tokens: self-contained, signed with a key made from the tenant's secret, checked without query.

A token is url-safe base64 without padding of

    form (1 byte, 1) | issued at (6 bytes, epoch ms, big-endian) | user id (UTF-8) | HMAC-SHA256 (16 bytes)

so it holds no `@`, behind which SDKs keep navigation addresses, and has 116 characters for a 64-byte user id.
A tenant's new secret ends all its tokens; `User.tokens_valid_after` ends those of one user.
"""

from __future__ import annotations

import functools
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from apps.accounts.directory import Restriction, TenantEntry

_FORM = b"\x01"
_TIME = slice(1, 7)
_USER_AT = 7
_MAC_LENGTH = 16
MAX_LENGTH = 256  # characters of a token, navigation addresses aside


class Reason(StrEnum):
    """Why a token is refused. What the client should do differs."""

    INCORRECT = "the token is not one of this app"  # ask the app's server for a token
    EXPIRED = "the token has been revoked"  # the same
    BLOCKED = "the user is blocked"  # wait
    DEACTIVATED = "the user is deactivated"  # give up


class TokenRefused(Exception):
    """The bearer may not connect."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Claims(NamedTuple):
    user_id: str
    issued_ms: int


@functools.lru_cache(maxsize=4096)
def _key(app_key: str, app_secret: str) -> bytes:
    # The app key takes part: two tenants that were given the same secret do not accept each other's tokens.
    return hmac.digest(app_secret.encode(), b"imcloud token 1\0" + app_key.encode(), "sha256")


def _mac(tenant: TenantEntry, body: bytes) -> bytes:
    return hmac.digest(_key(tenant.app_key, tenant.app_secret), body, "sha256")[:_MAC_LENGTH]


def issue(tenant: TenantEntry, user_id: str, *, now_ms: int | None = None) -> str:
    """A token for a user id of at most 64 bytes."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    body = _FORM + now_ms.to_bytes(6, "big") + user_id.encode()
    return urlsafe_b64encode(body + _mac(tenant, body)).rstrip(b"=").decode()


def verify(
    tenant: TenantEntry,
    token: str,
    restriction_of: Callable[[int, str], Restriction],
    *,
    now_ms: int | None = None,
) -> Claims:
    """Whose token it is. `restriction_of` is `Directory.user_restriction`.

    Raises TokenRefused, and nothing else whatever the text.
    """
    claims = _claims(tenant, token.partition("@")[0])
    restriction = restriction_of(tenant.id, claims.user_id)
    if restriction.deactivated:  # a new token would not help
        raise TokenRefused(Reason.DEACTIVATED)
    if claims.issued_ms <= restriction.tokens_valid_after_ms:
        raise TokenRefused(Reason.EXPIRED)
    if restriction.blocked_until_ms > (time.time_ns() // 1_000_000 if now_ms is None else now_ms):
        raise TokenRefused(Reason.BLOCKED)
    return claims


def _claims(tenant: TenantEntry, token: str) -> Claims:
    raw = _decoded(token)
    body, mac = raw[:-_MAC_LENGTH], raw[-_MAC_LENGTH:]
    if len(body) <= _USER_AT or body[:1] != _FORM or not hmac.compare_digest(mac, _mac(tenant, body)):
        raise TokenRefused(Reason.INCORRECT)
    return Claims(body[_USER_AT:].decode(), int.from_bytes(body[_TIME], "big"))


def _decoded(token: str) -> bytes:
    if len(token) > MAX_LENGTH or not token.isascii():
        raise TokenRefused(Reason.INCORRECT)
    text = token.encode()
    try:
        raw = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise TokenRefused(Reason.INCORRECT) from error
    # Base64 has spare bits and skips foreign characters: only one text may stand for a token.
    if urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise TokenRefused(Reason.INCORRECT)
    return raw
