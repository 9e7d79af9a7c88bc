"""The chat page at /demo/, and the tokens that it signs in with.

Anyone may be any user of the tenant named `demo`, and of no other: lock that tenant to close the page.
"""

from __future__ import annotations

import threading
import time
import unicodedata

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts import tokens
from apps.accounts.directory import TenantEntry
from apps.accounts.models import Tenant, User

TENANT = "demo"
USER_ID_MAX = 64  # bytes (PROTOCOL 6.14)
# Sockets go to the hosts that navigation names, so they may go anywhere; all else stays at the origin.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self' ws: wss:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


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


@require_GET
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """The chat page; its form carries the CSRF token that sign_in asks for."""
    response = render(request, "demo/page.html", {"user_id_max": USER_ID_MAX})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


@require_POST
@never_cache
def sign_in(request: HttpRequest) -> JsonResponse:
    """A token for the form's `user`: {"userId", "token", "appKey"}, or {"error"}, a sentence for a person."""
    if not sign_ins.take():
        return _error(429, "Too many people are signing in. Try again in a moment.")
    user_id = unicodedata.normalize("NFC", request.POST.get("user", "")).strip()
    if not user_id or len(user_id.encode()) > USER_ID_MAX or not user_id.isprintable():
        return _error(400, f"A user name has 1 to {USER_ID_MAX} bytes and no control characters.")
    tenant = Tenant.objects.filter(name=TENANT, state=Tenant.State.ACTIVE).first()
    if tenant is None:
        return _error(404, f"This installation has no open tenant named “{TENANT}”.")
    # Not save(): that would have every process read the directory again, and nothing in it has changed.
    User.objects.bulk_create([User(tenant=tenant, user_id=user_id, name=user_id)], ignore_conflicts=True)
    token = tokens.issue(TenantEntry(tenant.pk, tenant.name, tenant.app_key, tenant.app_secret), user_id)
    return JsonResponse({"userId": user_id, "token": token, "appKey": tenant.app_key})


def _error(status: int, text: str) -> JsonResponse:
    return JsonResponse({"error": text}, status=status)
