"""Clients of the Redis that holds presence, ledgers and heartbeats: one server, or the master of Sentinels.

With Sentinels, a new connection goes to whom they call the master at that moment, and one whose server has
become a replica is closed at its first write. So whoever repeats what has failed follows a failover.
"""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings
from redis import asyncio as aioredis
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel


def client(**options: Any) -> redis.Redis:
    """One for threads. `options` are redis-py's."""
    if settings.REDIS_SENTINEL is None:
        return redis.Redis.from_url(settings.REDIS_URL, **options)
    found: redis.Redis = _of_master(Sentinel, options)
    return found


def async_client(**options: Any) -> aioredis.Redis:
    """One for an event loop."""
    if settings.REDIS_SENTINEL is None:
        return aioredis.Redis.from_url(settings.REDIS_URL, **options)
    found: aioredis.Redis = _of_master(AsyncSentinel, options)
    return found


def _of_master(sentinels: Any, options: dict[str, Any]) -> Any:
    its = settings.REDIS_SENTINEL
    asked = settings.SENTINEL_OPTIONS | {"password": its.sentinel_password}
    login = {"db": its.database, "password": its.password, **settings.MASTER_OPTIONS}
    return sentinels(its.nodes, sentinel_kwargs=asked).master_for(its.master, **login, **options)
