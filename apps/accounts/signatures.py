"""Request signatures of the server API: the caller proves that they hold the tenant's secret.

    Signature = hex(SHA-1(secret + nonce + timestamp)), the strings as they were sent

Published server SDKs repeat one nonce and timestamp for the life of a process, so neither is judged unless
the operator wants it. What the signature does not cover (the body) is the transport's to protect: use HTTPS
between machines.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping

from apps.accounts.directory import TenantEntry

BAD_SIGNATURE = 1004  # also for a missing header and an unknown app key: which keys exist is not told
LOCKED = 1006
MILLISECONDS_FROM = 10**11  # timestamps from this number on are in ms, those below it in s
_NAMES = ("App-Key", "Nonce", "Timestamp", "Signature")


class SignatureRefused(Exception):
    """The request is not from a tenant. Answered with HTTP 401 and this business code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def sign(app_secret: str, nonce: str, timestamp: str) -> str:
    """The signature that a caller with this secret sends."""
    return _digest(app_secret, nonce.encode(), timestamp.encode())


def _digest(app_secret: str, nonce: bytes, timestamp: bytes) -> str:
    # SHA-1 is the published contract. No collision helps a forger here, who would need a preimage.
    return hashlib.sha1(app_secret.encode() + nonce + timestamp, usedforsecurity=False).hexdigest()


def header(headers: Mapping[str, str], name: str) -> str:
    """One of the four, in either spelling; empty when it is in neither."""
    return headers.get(name) or headers.get(f"RC-{name}") or ""


def check_clock(timestamp: str, window: int, now_ms: int) -> None:
    """That a request was signed at most `window` seconds ago, or before now. Raises SignatureRefused."""
    signed_at = int(timestamp) if re.fullmatch("[0-9]{1,15}", timestamp) else 0
    if signed_at < MILLISECONDS_FROM:
        signed_at *= 1000
    if abs(now_ms - signed_at) > window * 1000:
        raise SignatureRefused(BAD_SIGNATURE, f"The Timestamp is more than {window} s away from now.")


def signer(headers: Mapping[str, str], by_key: Callable[[str], TenantEntry | None]) -> TenantEntry:
    """The tenant that signed a request with these headers, any spelling of their case.

    `by_key` is `Directory.by_key`. Timestamps in seconds and in milliseconds are both what callers send.
    Raises SignatureRefused.
    """
    values = []
    for name in _NAMES:
        value = header(headers, name)
        if not value:
            raise SignatureRefused(BAD_SIGNATURE, f"The header {name} is required.")
        # HTTP headers are bytes, which the server read as Latin-1: signed were the bytes.
        values.append(value.encode("latin-1", "replace"))
    app_key, nonce, timestamp, signature = values
    tenant = by_key(app_key.decode("latin-1"))
    expected = _digest("" if tenant is None else tenant.app_secret, nonce, timestamp)
    if not hmac.compare_digest(expected.encode(), signature.lower()) or tenant is None:
        raise SignatureRefused(BAD_SIGNATURE, "The signature is not valid for this App-Key.")
    if tenant.locked:
        raise SignatureRefused(LOCKED, "The app is locked.")
    return tenant
