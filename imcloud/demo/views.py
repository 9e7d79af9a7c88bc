"""The chat page at /demo/, and what it needs of its app's server: tokens to sign in with, groups to be in.

Anyone may be any user of the tenant named `demo`, and of no other: lock that tenant to close the page.
"""

from __future__ import annotations

import threading
import time
import unicodedata
from urllib.parse import urlsplit

import msgpack
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts import tokens
from apps.accounts.directory import TenantEntry, directory
from apps.accounts.models import Tenant, User
from apps.messaging import groups
from apps.messaging.server_api.declarations import Refused
from apps.messaging.server_api.messages import committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.status import AckStatus

TENANT = "demo"
USER_ID_MAX = 64  # bytes (PROTOCOL 6.14), also of a group's or a chatroom's


class Bucket:
    """Lets `burst` through at once and `rate` a second after that, in this process."""

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


sign_ins = Bucket(burst=60, rate=5)
group_changes = Bucket(burst=60, rate=5)


def content_security_policy() -> str:
    """What the page may load, and from where: from its origin, and pictures from the store of clients' files.

    Sockets go to the hosts that navigation names, so they may go anywhere.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' data: {_store()}".rstrip(),
            f"connect-src 'self' ws: wss: {_store()}".rstrip(),
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def _store() -> str:
    """The origin of the tenant's files, or nothing; apps.messaging.storage says where buckets' names are."""
    parts = urlsplit(settings.STORAGE_URL)
    if settings.STORAGE_KIND == "minio" or not parts.netloc:
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    tenant = _tenant()
    bucket = settings.STORAGE_BUCKET.format(tenant=tenant.pk) if tenant else ""
    return f"{parts.scheme}://{bucket}.{parts.netloc}" if bucket else ""


@require_GET
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """The chat page; its form carries the CSRF token that the other views ask for."""
    response = render(request, "demo/page.html", {"user_id_max": USER_ID_MAX})
    response["Content-Security-Policy"] = content_security_policy()
    return response


@require_POST
@never_cache
def sign_in(request: HttpRequest) -> JsonResponse:
    """A token for the form's `user`: {"userId", "token", "appKey"}, or {"error"}, a sentence for a person."""
    if not sign_ins.take():
        return _error(429, "Too many people are signing in. Try again in a moment.")
    user_id = _name(request.POST.get("user", ""))
    if user_id is None:
        return _error(400, f"A user name has 1 to {USER_ID_MAX} bytes and no control characters.")
    tenant = _tenant()
    if tenant is None:
        return _error(404, f"This installation has no open tenant named “{TENANT}”.")
    # Not save(): that would have every process read the directory again, and nothing in it has changed.
    User.objects.bulk_create([User(tenant=tenant, user_id=user_id, name=user_id)], ignore_conflicts=True)
    token = tokens.issue(TenantEntry(tenant.pk, tenant.name, tenant.app_key, tenant.app_secret), user_id)
    return JsonResponse({"userId": user_id, "token": token, "appKey": tenant.app_key})


@require_POST
@never_cache
async def change_group(request: HttpRequest, change: str) -> JsonResponse:
    """The user whose `token` it is joins the `group`, which is made by who joins first, or leaves it.

    Clients have no call for that: an app's server decides who is in which group, and this one lets everybody.
    """
    if not group_changes.take():
        return _error(429, "Too many people are joining. Try again in a moment.")
    tenant, user = _bearer(request.POST.get("appKey", ""), request.POST.get("token", ""))
    if tenant is None:
        return _error(403, "Sign in again.")
    group = _name(request.POST.get("group", ""))
    if group is None or "," in group:  # as the server API has it
        return _error(
            400, f"A group's name has 1 to {USER_ID_MAX} bytes, no control characters and no comma."
        )
    how = {"join": groups.JOIN, "leave": groups.QUIT}[change]
    payload = msgpack.packb([how, [user], ""])
    try:
        (reply,) = await committed([Request(tenant.id, "", "grpChange", group, payload, options=FROM_SERVER)])
    except Refused as refusal:
        return _error(503, str(refusal))
    if reply.status == AckStatus.OPERATION_BLOCKED:
        return _error(409, "The group is full.")
    if reply.status:
        return _error(503, "That did not work. Try again in a moment.")
    return JsonResponse({"group": group})


def _bearer(app_key: str, token: str) -> tuple[TenantEntry | None, str]:
    """Who signed in with the token, and nobody else than a user of the open demo tenant."""
    tenant = directory.current.by_key(app_key)
    if tenant is None or tenant.name != TENANT or tenant.locked:
        return None, ""
    try:
        return tenant, tokens.verify(tenant, token, directory.current.user_restriction).user_id
    except tokens.TokenRefused:
        return None, ""


def _tenant() -> Tenant | None:
    return Tenant.objects.filter(name=TENANT, state=Tenant.State.ACTIVE).first()


def _name(text: str) -> str | None:
    """What people typed as a name; None when nothing can be called so."""
    name = unicodedata.normalize("NFC", text).strip()
    return name if 0 < len(name.encode()) <= USER_ID_MAX and name.isprintable() else None


def _error(status: int, text: str) -> JsonResponse:
    return JsonResponse({"error": text}, status=status)
