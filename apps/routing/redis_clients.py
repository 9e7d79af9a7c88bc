"""Clients of the Redis that holds presence, ledgers and heartbeats: one server, or the master of Sentinels.

With Sentinels, a new connection goes to whom they call the master at that moment, and one whose server has
become a replica is closed at its first write. So whoever repeats what has failed follows a failover.
"""

from __future__ import annotations

from typing import Any

import redis
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel


def client(**options: Any) -> redis.Redis:
    """One for threads. `options` are redis-py's."""
    if (its := settings.REDIS_SENTINEL) is None:
        return redis.Redis.from_url(settings.REDIS_URL, **options)
    sentinels = Sentinel(its.nodes, sentinel_kwargs=_asking(its.sentinel_password))
    login: dict[str, Any] = {"db": its.database, "password": its.password, **settings.MASTER_OPTIONS}
    found: redis.Redis = sentinels.master_for(its.master, **login, **options)
    return found


def async_client(**options: Any) -> aioredis.Redis:
    """One for an event loop."""
    if (its := settings.REDIS_SENTINEL) is None:
        return aioredis.Redis.from_url(settings.REDIS_URL, **options)
    sentinels = AsyncSentinel(its.nodes, sentinel_kwargs=_asking(its.sentinel_password))
    login: dict[str, Any] = {"db": its.database, "password": its.password, **settings.MASTER_OPTIONS}
    found: aioredis.Redis = sentinels.master_for(its.master, connection_class=ToMaster, **login, **options)
    return found


def _asking(password: str | None) -> dict[str, Any]:
    """How Sentinels are asked."""
    return settings.SENTINEL_OPTIONS | {"password": password}


class ToMaster(SentinelManagedConnection):
    """One that asks the Sentinels whenever it is opened.

    redis-py's does so in `connect` only, and not when it is opened again because there is something to send:
    it would go to the old master for as long as there is none (redis-py issue 3874).
    """

    async def _connect(self) -> None:
        self.host, self.port = await self.connection_pool.get_master_address()
        await super()._connect()


_BOUNDS: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 5}  # s
# Once more at once: after a restart or a failover there is a Redis, but the connection is to the one before,
# and each worker would lose its next hint. One that is silent is not asked twice.
_ONCE_MORE = (NoBackoff(), 1, (redis.ConnectionError,))


class ChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """That of channels_redis, at our Redis, and a way into it for threads."""

    def __init__(self, **options: Any) -> None:
        host: dict[str, Any] = _BOUNDS | {"retry": AsyncRetry(*_ONCE_MORE)}
        if (its := settings.REDIS_SENTINEL) is None:
            host |= {"address": settings.REDIS_URL}
        else:
            host |= settings.MASTER_OPTIONS | {
                "sentinels": its.nodes,
                "sentinel_kwargs": _asking(its.sentinel_password),
                "master_name": its.master,
                "password": its.password,
                "db": its.database,
                "connection_class": ToMaster,
            }
        super().__init__(hosts=[host], **options)
        self._of_threads = client(**_BOUNDS, retry=Retry(*_ONCE_MORE))

    def tell(self, group: str, message: dict[str, Any]) -> None:
        """`group_send` for a thread without an event loop: one to run it in would cost more than the sending.

        Raises what redis-py raises.
        """
        self._of_threads.publish(f"asgi__group__{group}", self.serialize(message))
