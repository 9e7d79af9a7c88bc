"""Real processes die while messages flow; what was acknowledged must arrive, once, in order, without help.

The judge is bench.ledger, which sees what users see; the clients have the manners of the published v4 SDK.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from apps.routing.protocol.packets import AckStatus
from bench.stack import Stack
from bench.tokens import App
from bench.traffic import Traffic

pytestmark = pytest.mark.faults

RECOVERY_SECONDS = 30.0  # a few on an idle machine; a client tries again every 5 s
SETTLE_SECONDS = 20.0
WATCH_SECONDS = 4.0  # after a fault, in any case: long enough for its effect to show
BROKER_DOWN_SECONDS = 12.0
BUSY_SECONDS = (
    8.0  # within which a send is refused while the broker is down: 4.5, and what a busy machine adds
)
LOOK_SECONDS = 0.1

Damage = Callable[[Stack], None]


@asynccontextmanager
async def flowing(app: App) -> AsyncIterator[Traffic]:
    """20 clients with 200 messages/s among them, seen to flow."""
    async with Traffic(app) as traffic:
        await traffic.flows(within=RECOVERY_SECONDS)
        yield traffic


def kill(pid_of: Callable[[Stack], int]) -> Damage:
    """kill -9, and see that another process takes the place, or the test would prove nothing."""

    def killed(stack: Stack) -> None:
        victim = pid_of(stack)
        os.kill(victim, signal.SIGKILL)
        give_up_at = time.monotonic() + RECOVERY_SECONDS
        while alive(victim) or still_named(stack, pid_of, victim):
            assert time.monotonic() < give_up_at, f"nobody took the place of {victim}"
            time.sleep(LOOK_SECONDS)

    return killed


def child(name: str) -> Callable[[Stack], int]:
    """The pid of a child of the launcher, as it is when asked."""
    return lambda stack: int(stack.describe()["pids"][name])


def message_worker(stack: Stack) -> int:
    return stack.workers("message")[0]


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def still_named(stack: Stack, pid_of: Callable[[Stack], int], victim: int) -> bool:
    try:
        return pid_of(stack) == victim
    except (OSError, ValueError, LookupError):  # the file is being replaced, or nobody has the place yet
        return True


def wipe_redis(stack: Stack) -> None:
    """Queues, presence, channel layer: all of it is gone, and the server runs on."""
    with redis.Redis(unix_socket_path=redis_socket(stack)) as client:
        client.flushall()


def redis_socket(stack: Stack) -> str:
    return str(stack.describe()["redis_url"]).removeprefix("unix://").partition("?")[0]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(kill(message_worker), id="message-worker-killed"),
        pytest.param(kill(child("node:MSG_NODE1")), id="node-supervisor-killed"),
        pytest.param(kill(child("gateway")), id="gateway-killed"),
        pytest.param(kill(child("redis")), id="redis-killed"),
        pytest.param(wipe_redis, id="redis-wiped"),
        pytest.param(kill(child("postgres")), id="postgres-killed"),
    ],
)
def test_a_fault_loses_doubles_and_reorders_nothing(damage: Damage, broken_stack: Stack, app: App) -> None:
    async def scenario() -> None:
        async with flowing(app) as traffic:
            fault = time.monotonic()
            damaging = asyncio.create_task(asyncio.to_thread(damage, broken_stack))
            await asyncio.sleep(WATCH_SECONDS)
            await traffic.flows(within=RECOVERY_SECONDS - (time.monotonic() - fault))
            await damaging
            gap = traffic.longest_gap(fault)
            verdict = await traffic.settle(SETTLE_SECONDS)
            print(f"longest gap of acknowledgements {gap:.2f} s; {verdict}")
            assert verdict.faults == {}, traffic.describe()
            assert verdict.delivered == verdict.acknowledged > 0
            assert gap <= RECOVERY_SECONDS

    asyncio.run(scenario())


def test_a_silent_broker_makes_sends_fail_as_busy_and_traffic_returns_with_it(
    broken_stack: Stack, app: App
) -> None:
    """Stopped, not killed: nothing closes, so only time limits tell that the broker does not answer."""

    async def scenario() -> None:
        async with flowing(app) as traffic:
            pid = child("redis")(broken_stack)
            os.kill(pid, signal.SIGSTOP)
            try:
                stopped = time.monotonic()
                await asyncio.sleep(BROKER_DOWN_SECONDS)
                down = [
                    answer
                    for answer in traffic.answers
                    if stopped + LOOK_SECONDS < answer.sent < time.monotonic() - BUSY_SECONDS
                ]
                slowest = max(answer.heard - answer.sent for answer in down)
            finally:
                os.kill(pid, signal.SIGCONT)
            await traffic.flows(within=RECOVERY_SECONDS)
            verdict = await traffic.settle(SETTLE_SECONDS)
            print(f"{len(down)} refused, the slowest after {slowest:.2f} s; {verdict}")
            sent = (BROKER_DOWN_SECONDS - BUSY_SECONDS - LOOK_SECONDS) * traffic.rate
            assert len(down) >= 0.9 * sent, f"{sent - len(down):.0f} had no answer after {BUSY_SECONDS} s"
            assert {answer.status for answer in down} == {AckStatus.BUSY}
            assert slowest <= BUSY_SECONDS
            assert verdict.unanswered == 0
            assert verdict.faults == {}, traffic.describe()

    asyncio.run(scenario())
