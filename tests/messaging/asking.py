"""Queries of clients, answered in this process as a worker answers them; what gateways are told with it."""

from typing import Any, TypeVar

import redis
from channels.layers import get_channel_layer
from django.conf import settings
from google.protobuf.message import Message

from apps.messaging import tasks
from apps.routing import hints, topology
from apps.routing.envelope import Answer, Request
from apps.routing.hints import Signal

M = TypeVar("M", bound=Message)

TENANT = 1
MALFORMED_BYTES = b"\x0a\xff\xff\xff\xff\x0f"  # field 1 claims 4 GB


def ask(
    user: str,
    method: str,
    body: Message | bytes,
    *,
    target: str = "",
    generation: int = 5,
    tenant: int = TENANT,
    server_set: str = "",
    options: int = 0,
) -> Answer:
    """The answer to a query, given by the user's home SET if no other one is named."""
    payload = body if isinstance(body, bytes) else body.SerializeToString()
    request = Request(
        tenant,
        user,
        method,
        target or user,
        payload,
        options=options,
        generation=generation,
        connection=f"{user}-connection",
    )
    return tasks._answer(server_set or topology.home(tenant, user), request)


def reply(kind: type[M], user: str, method: str, body: Message | bytes, **how: Any) -> M:
    """The reply to a query that is not refused."""
    answer = ask(user, method, body, **how)
    assert answer.status == 0, answer
    return kind.FromString(answer.payload)


class Told:
    """What gateways are told from now on."""

    def __init__(self) -> None:
        self._layer = get_channel_layer()
        self._client = redis.Redis.from_url(settings.REDIS_URL)
        self._listening = self._client.pubsub()
        self._listening.psubscribe(f"*__group__{hints.EVERY_GATEWAY}")
        assert self._listening.get_message(timeout=5.0) is not None, "Redis did not subscribe"

    def signals(self) -> list[Signal]:
        """The signals that have arrived; publishing is done when the query is answered."""
        found = []
        while (message := self._listening.get_message(timeout=0.2)) is not None:
            told = self._layer.deserialize(message["data"])
            if told["type"] == "signal":
                found += [Signal(*each) for each in told["signals"]]
        return found

    def close(self) -> None:
        self._listening.close()
        self._client.close()
