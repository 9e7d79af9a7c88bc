"""What a benchmark counts as done."""

import asyncio

from bench.homes import Homes
from bench.load import Pairs, connect, disconnect
from tests.conftest import WholeStack
from tests.messaging.server_api.live import app_of_its_own

CHAT_SECONDS = 2.0


async def test_a_message_between_two_sets_is_done_when_both_users_and_the_second_device_have_it(
    stack: WholeStack,
) -> None:
    app = await asyncio.to_thread(app_of_its_own, stack, "two sets")  # no broadcast of other tests comes
    homes = Homes(stack.describe()["database_url"], app.key)
    tokens = await asyncio.to_thread(app.tokens, homes.users(["set1", "set2"]))
    pairs = Pairs(app, tokens, senders=1, second_devices=True)
    pairs.window.open = True
    await connect(pairs.clients)
    pairs.begin(1)
    await asyncio.sleep(CHAT_SECONDS)
    verdict = await pairs.finish()
    await disconnect(pairs.clients)
    done = pairs.window.completed
    assert done > 0
    assert len(pairs.window.acks) == len(pairs.window.deliveries) == len(pairs.window.copies) == done
    assert verdict.faults == {}
    assert verdict.delivered == verdict.acknowledged == 2 * done
