"""What one tenant may take a second, and how many connections it may have, over all processes together.

Each process has a bucket of its own for each tenant that has a limit, and takes from it without asking
anybody. A thread tells Redis every `EVERY` seconds what was taken here and learns how full the bucket of all
processes is: one script and one round trip for all tenants, away from the event loop. So the limit holds over
all processes in the long run, and a process can be wrong by what the others take within that time: it is
taken off what comes next. With Redis away each process keeps the whole limit by itself.

A tenant without limits is not known here and costs nothing.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from typing import Any

from redis import RedisError

from apps.accounts.directory import TenantEntry, directory
from apps.routing import metrics, presence

logger = logging.getLogger(__name__)

CALLS, MESSAGES = "calls", "messages"
EVERY = 0.1  # s from one exchange with Redis to the next while something is taken
BEAT = 1.0  # s between two announcements of the connections here, and after Redis was not reached

# ARGV: this process, ms after which a process counts as gone, number of buckets; then of each bucket its rate
# and what was taken, and of each tenant its connections here. Gives each bucket's level, then the connections
# of each tenant at other processes. A bucket holds what comes in a second; full, it need not be kept.
_EXCHANGE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local buckets, found = tonumber(ARGV[3]), {}
for i = 1, buckets do
  local rate, taken = tonumber(ARGV[2 + 2 * i]), tonumber(ARGV[3 + 2 * i])
  local kept = redis.call('HMGET', KEYS[i], 'level', 'at')
  local level = rate
  if kept[1] then
    level = math.min(rate, tonumber(kept[1]) + math.max(0, now - tonumber(kept[2])) * rate / 1000)
  end
  level = level - taken
  redis.call('HSET', KEYS[i], 'level', tostring(level), 'at', now)
  redis.call('PEXPIRE', KEYS[i], math.ceil((rate - level) / rate * 1000) + 1000)
  found[i] = tostring(level)
end
for i = buckets + 1, #KEYS do
  redis.call('HSET', KEYS[i], ARGV[1], ARGV[3 + buckets + i] .. ' ' .. now)
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
  local others, all = 0, redis.call('HGETALL', KEYS[i])
  for field = 1, #all, 2 do
    local number, at = string.match(all[field + 1], '(%d+) (%d+)')
    if now - at > tonumber(ARGV[2]) then
      redis.call('HDEL', KEYS[i], all[field])
    elseif all[field] ~= ARGV[1] then
      others = others + number
    end
  end
  found[i] = tostring(others)
end
return found"""


class Bucket:
    """What comes in a second at most, and `rate` a second after that."""

    __slots__ = ("asked", "at", "level", "rate", "taken")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.level = float(rate)
        self.at = time.monotonic()
        self.taken = 0  # of what Redis has not been told
        self.asked = False  # since Redis was asked

    def take(self, number: int, rate: int) -> float:
        """Seconds until there will be room for so many more; 0: they are taken.

        More than the bucket can hold are taken from a full one, and what they are too many is owed.
        """
        now = time.monotonic()
        self.level = min(rate, self.level + (now - self.at) * rate)
        self.at, self.rate, self.asked = now, rate, True
        lacking = min(number, rate) - self.level
        if lacking > 1e-6:  # what sums of floats may be wrong by
            return lacking / rate
        self.level -= number
        self.taken += number
        return 0.0


class Quotas:
    """Those of one process; for its event loop and the threads of its server API alike."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[tuple[int, str], Bucket] = {}
        self._here: Counter[int] = Counter()  # tenant -> connections to this process
        self._elsewhere: dict[int, int] = {}  # those to others, of tenants that have a limit
        self._news = threading.Event()
        self._thread: threading.Thread | None = None
        self._name = secrets.token_hex(8)
        self._reached = True

    def take(self, tenant: int, kind: str, rate: int, number: int = 1) -> float:
        """As `Bucket.take`."""
        with self._lock:
            bucket = self._buckets.get((tenant, kind))
            if bucket is None:
                bucket = self._buckets[tenant, kind] = Bucket(rate)
            lacking = bucket.take(number, rate)
        if lacking:
            metrics.QUOTA_REFUSALS.add(1, kind)
        self._tell()
        return lacking

    def came(self, tenant: int) -> None:
        """A client has connected here."""
        self._here[tenant] += 1

    def went(self, tenant: int) -> None:
        self._here[tenant] -= 1
        if not self._here[tenant]:
            del self._here[tenant]

    def crowded(self, tenant: TenantEntry) -> bool:
        """Whether the tenant has as many connections as it may, as far as is known here."""
        if tenant.connections_max is None:
            return False
        self._tell()
        return self._here[tenant.id] + self._elsewhere.get(tenant.id, 0) >= tenant.connections_max

    def _tell(self) -> None:
        """Have Redis told soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="quotas", daemon=True)
            self._thread.start()
        if not self._news.is_set():
            self._news.set()

    def _run(self) -> None:
        failing = False
        while True:
            self._news.wait(BEAT)  # connections are announced again before they are taken for gone
            self._news.clear()
            try:
                self.exchange()
                failing = False
            except Exception:
                if not failing:
                    logger.exception("quotas: not exchanged")
                failing = True  # and tried again: the thread has to go on
            time.sleep(EVERY if self._reached else BEAT)

    def exchange(self) -> None:
        """Tell Redis what was taken and who is here, and learn of the others."""
        with self._lock:
            asked = [(key, bucket) for key, bucket in self._buckets.items() if bucket.asked]
            spent = [bucket.taken for _, bucket in asked]
            for _, bucket in asked:
                bucket.taken, bucket.asked = 0, False
            counted = [(t, self._here[t]) for t in list(self._here) if _limits_connections(t)]
        if not (asked or counted):
            self._elsewhere = {}
            return
        keys = [f"imcloud:quota:{kind}:{tenant}" for (tenant, kind), _ in asked]
        keys += [f"imcloud:quota:connections:{tenant}" for tenant, _ in counted]
        arguments: list[Any] = [self._name, int(presence.MISSED * 1000), len(asked)]
        for (_, bucket), taken in zip(asked, spent, strict=True):
            arguments += (bucket.rate, taken)
        arguments += (number for _, number in counted)
        try:
            found = presence.client().eval(_EXCHANGE, len(keys), *keys, *arguments)
        except (OSError, RedisError) as error:
            if self._reached:
                logger.warning("quotas: each process keeps the whole limit by itself: %s", error)
            self._reached, self._elsewhere = False, {}
            return
        self._reached = True
        with self._lock:
            for (_, bucket), level in zip(asked, found, strict=False):  # type: ignore[arg-type]
                bucket.level, bucket.at = float(level) - bucket.taken, time.monotonic()
        others = found[len(asked) :]  # type: ignore[index]
        self._elsewhere = {tenant: int(n) for (tenant, _), n in zip(counted, others, strict=True)}


def _limits_connections(tenant: int) -> bool:
    known = directory.current.by_id(tenant)
    return known is not None and known.connections_max is not None


quotas = Quotas()
