"""`/healthz`: this process is alive. `/readyz`: a message goes the whole road."""

from __future__ import annotations

import asyncio

from django.http import HttpRequest, JsonResponse

from apps.routing.process import ROAD_STALE, running

START_PATIENCE = 1.0  # s


async def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"alive": True})


async def readyz(request: HttpRequest) -> JsonResponse:
    """200 while a message went gateway, queue, log and back within 10 s, in one SET at least; else 503."""
    try:
        process = await asyncio.wait_for(running(), START_PATIENCE)
    except TimeoutError:
        return _not_ready("the gateway has not found its log yet")
    roads = process.roads()
    if not any(roads.values()):
        return _not_ready(f"no message has come back from any log for {ROAD_STALE:.0f} s")
    return JsonResponse({"ready": True, "sets": roads, "connections": len(process.hub.connections)})


def _not_ready(reason: str) -> JsonResponse:
    response = JsonResponse({"ready": False, "reason": reason}, status=503)
    response._has_been_logged = True  # type: ignore[attr-defined]  # asked every second, and no fault of Django's
    return response
