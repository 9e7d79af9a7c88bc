"""What beat does for standbys: goes on with failovers, and begins one when observers say so."""

from __future__ import annotations

import logging

from django.core.exceptions import ValidationError
from redis import RedisError

from apps.messaging.standby import failover
from apps.routing import observing
from apps.routing.models import Failover, ServerSet

logger = logging.getLogger(__name__)

OBSERVERS = 2  # at least, that have looked lately: one alone cannot tell whether it is cut off itself

_told: dict[str, str] = {}  # SET -> why it does not fail over by itself, as last logged


def tend() -> None:
    """Once a second, by who has beat's lease."""
    for its in ServerSet.objects.filter(automatic_failover=True).exclude(standby=""):
        _judge(its)
    for pk in Failover.objects.filter(step__in=failover.BEFORE_SWITCH).values_list("pk", flat=True):
        at = None
        while at != (at := failover.step(pk).step) and at in failover.BEFORE_SWITCH:
            pass


def _judge(its: ServerSet) -> None:
    try:
        found = observing.verdict(its.name, its.probes)
    except RedisError:
        return
    if found.observers < OBSERVERS or found.gone * 2 <= found.observers:
        _told.pop(its.name, None)
        return
    try:
        one = failover.begin(its.name, planned=False, asked_by="observers", automatic=True)
    except ValidationError as refused:
        reason = " ".join(refused.messages)
        if _told.get(its.name) != reason:
            logger.error("%s: its database is gone, but it stays: %s", its.name, reason)
        _told[its.name] = reason
    else:
        logger.error("%s: %d of %d observers cannot reach its database", one, found.gone, found.observers)
