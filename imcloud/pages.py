"""What the pages for people need and the APIs do not: sessions, CSRF checks, headers for browsers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

PATHS = ("/admin/", "/demo/")
# From the outermost to the innermost.
MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)


def away(error: OperationalError) -> HttpResponse:
    """What a page says that needs a database which does not answer."""
    text = (
        "This page needs a database that does not answer now. Messages do not wait for it. Try again soon.\n"
        f"{' '.join(str(error).split())}\n"
    )
    return HttpResponse(
        text, status=503, content_type="text/plain; charset=utf-8", headers={"Retry-After": "5"}
    )


class PagesMiddleware:
    """Django's middleware for `PATHS` only: on the event loop, each piece costs two changes of thread."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        markcoroutinefunction(self)
        self._apis = get_response
        self._pages: Any = get_response
        self._checks: list[Callable[..., HttpResponse | None]] = []
        for name in reversed(MIDDLEWARE):
            self._pages = import_string(name)(self._pages)
            if hasattr(self._pages, "process_view"):
                self._checks.insert(0, self._pages.process_view)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase
        if request.path_info.startswith(PATHS):
            try:
                response = await self._pages(request)
            except OperationalError as error:  # of a session or an account
                response = away(error)
        else:
            response = await self._apis(request)
            if isinstance(response, HttpResponse):  # old clients do not read chunks
                response.setdefault("Content-Length", str(len(response.content)))
        return response

    async def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, OperationalError) and request.path_info.startswith(PATHS):
            return away(error)
        return None

    async def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        """Django asks this of the middleware that it knows of; here is where CSRF tokens are checked."""
        if request.path_info.startswith(PATHS):
            for check in self._checks:
                refusal = await sync_to_async(check)(request, *view)
                if refusal is not None:
                    return refusal
        return None
