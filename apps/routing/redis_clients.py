"""Clients of the Redis that holds presence, ledgers and heartbeats: one server, or the master of Sentinels.

With Sentinels, a new connection goes to whom they call the master at that moment, and one whose server has
become a replica is closed at its first write. So whoever repeats what has failed follows a failover.
"""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings
from redis import asyncio as aioredis
from redis.asyncio import sentinel as aiosentinel
from redis.sentinel import Sentinel


def client(**options: Any) -> redis.Redis:
    """One for threads. `options` are redis-py's."""
    its = settings.REDIS_SENTINEL
    if its is None:
        return redis.Redis.from_url(settings.REDIS_URL, **options)
    login: dict[str, Any] = {"password": its.password or None}
    sentinels = Sentinel(its.nodes, sentinel_kwargs=settings.SENTINEL_OPTIONS | login)
    found: redis.Redis = sentinels.master_for(its.master, db=its.database, **login, **options)
    return found


def async_client(**options: Any) -> aioredis.Redis:
    """One for an event loop."""
    its = settings.REDIS_SENTINEL
    if its is None:
        return aioredis.Redis.from_url(settings.REDIS_URL, **options)
    login: dict[str, Any] = {"password": its.password or None}
    sentinels = aiosentinel.Sentinel(its.nodes, sentinel_kwargs=settings.SENTINEL_OPTIONS | login)
    found: aioredis.Redis = sentinels.master_for(its.master, db=its.database, **login, **options)
    return found
