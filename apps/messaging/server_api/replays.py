"""Requests that are sent again: refused when the operator wants it, which several SDKs do not survive."""

from __future__ import annotations

import time
from collections.abc import Mapping

from asgiref.sync import sync_to_async
from django.conf import settings

from apps.accounts.directory import TenantEntry
from apps.accounts.signatures import BAD_SIGNATURE, SignatureRefused, check_clock, header
from apps.routing import presence

REMEMBERED = 600  # s that a signature is remembered, if there is no window


async def check(headers: Mapping[str, str], tenant: TenantEntry) -> None:
    """That a well-signed request is of now, and the first one with its signature. Raises SignatureRefused."""
    window = settings.SIGNATURE_WINDOW
    if window:
        check_clock(header(headers, "Timestamp"), window, time.time_ns() // 1_000_000)
    if not settings.SIGNATURE_ONCE:
        return
    # A timestamp may be as far ahead of the clock as behind it: until then it would be taken again.
    key = f"imcloud:signed:{tenant.id}:{header(headers, 'Signature').lower()}"
    remember = sync_to_async(presence.client().set, thread_sensitive=False)
    if not await remember(key, b"", nx=True, ex=2 * window or REMEMBERED):
        raise SignatureRefused(BAD_SIGNATURE, "A request with this signature has been answered before.")
