"""What is counted is what took place."""

import asyncio
import http.client
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from apps.routing import metrics
from apps.routing.metrics import Traffic
from apps.routing.protocol.packets import AckStatus
from apps.routing.tally import Metric
from bench.client import Client, websocket_url
from bench.load import connect, disconnect, numbered
from bench.tokens import App
from tests.conftest import WholeStack, wait_for
from tests.messaging.server_api.live import app_of_its_own

EACH = 40  # messages from each client to the other
NOBODY = "x" * 65  # no user can have such an id: refused
WITHIN = 10.0  # s for the counts of all processes to be there
WORKERS_WITHIN = 20.0  # s in which as many workers are told as there are
LEFT_WITHIN = 15.0  # s after which a session that polls no longer has ended

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def count(metric: Metric, *labels: str) -> list[float]:
    return list(metric.of(*labels))


def test_traffic_becomes_metrics_once() -> None:
    traffic = Traffic()
    before = count(metrics.PACKETS_TOTAL, "PUBLISH", "in"), count(metrics.PACKETS_TOTAL, "other", "out")
    traffic.received[0x32] += 2
    traffic.received[0x30] += 1
    traffic.sent[0xF0] += 1
    traffic.hand_over()
    traffic.hand_over()
    after = count(metrics.PACKETS_TOTAL, "PUBLISH", "in"), count(metrics.PACKETS_TOTAL, "other", "out")
    assert (after[0][0] - before[0][0], after[1][0] - before[1][0]) == (3, 1)


@pytest.mark.parametrize(
    ("delay", "bucket"),
    [(-5, 0), (0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (65_535, 16), (65_536, 17), (10**12, 17)],
)
def test_a_delay_falls_into_the_bucket_whose_end_it_does_not_reach(
    monkeypatch: pytest.MonkeyPatch, delay: int, bucket: int
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 2 * 10**12 * 1_000_000)
    traffic, before = Traffic(), count(metrics.DELIVERY)
    traffic.pushed(2 * 10**12 - delay)
    traffic.hand_over()
    grown = [b - a for a, b in zip(before, metrics.DELIVERY.of(), strict=True)]
    assert [place for place, number in enumerate(grown[:-1]) if number] == [bucket]
    assert grown[-1] == pytest.approx(max(delay, 0) / 1000)


class Pair:
    """Two clients that write to each other, and what the server told and showed them."""

    def __init__(self, app: App) -> None:
        tokens = app.tokens(["metrics-a", "metrics-b"])
        self.statuses: list[int] = []
        self.shown = 0
        self._all = asyncio.Event()
        self.clients = [self._client(app, user, token) for user, token in tokens.items()]

    def _client(self, app: App, user: str, token: str) -> Client:
        def answered(context: Any, status: int, uid: str, at: int) -> None:
            self.statuses.append(status)
            self._look()

        def shown(message: Any) -> None:
            self.shown += 1
            self._look()

        return Client(websocket_url(app.url, app.key, token), user, answered, shown)

    def _look(self) -> None:
        if self.shown >= 2 * EACH and len(self.statuses) > 2 * EACH:
            self._all.set()

    async def talk(self) -> None:
        """EACH messages in both directions, and one that is refused; until all is answered and shown."""
        a, b = self.clients
        for number in range(EACH):
            a.send(b.user, numbered(number), number)
            b.send(a.user, numbered(number), number)
            await asyncio.sleep(0.002)
        a.send(NOBODY, numbered(EACH), EACH)
        await asyncio.wait_for(self._all.wait(), WITHIN)
        assert sorted(self.statuses) == [0] * (2 * EACH) + [AckStatus.MALFORMED]


def scrape(stack: WholeStack) -> Samples:
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=10)
    token = (stack.data / "metrics-token").read_text()
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum over all series that have these labels."""
    wanted = labels.items()
    return sum(number for (its, have), number in samples.items() if its == name and wanted <= have)


def of_messages(samples: Samples) -> dict[str, float]:
    """Everything that must be exact, by what it is."""
    packets = "imcloud_packets_total"
    return {
        "stored": value(samples, "imcloud_messages_total"),
        "PUBLISH in": value(samples, packets, type="PUBLISH", direction="in"),
        "PUBACK out": value(samples, packets, type="PUBACK", direction="out"),
        "PUBLISH out": value(samples, packets, type="PUBLISH", direction="out"),
        "PUBACK in": value(samples, packets, type="PUBACK", direction="in"),
        "pushes": value(samples, "imcloud_pushes_total"),
        "delivered": value(samples, "imcloud_delivery_seconds_count"),
        "acknowledged": value(samples, "imcloud_push_acknowledgements_total"),
        "notices": value(samples, "imcloud_notices_total"),
        "refused": value(samples, "imcloud_refusals_total", kind="message"),
        "malformed": value(
            samples, "imcloud_refusals_total", kind="message", code=str(int(AckStatus.MALFORMED))
        ),
    }


async def quiet(stack: WholeStack) -> None:
    """Until nobody is connected any more whom an earlier test left, also by long polling."""
    give_up_at = asyncio.get_running_loop().time() + LEFT_WITHIN
    while value(await asyncio.to_thread(scrape, stack), "imcloud_connections"):
        assert asyncio.get_running_loop().time() < give_up_at, "earlier tests' connections stay"
        await asyncio.sleep(0.5)


async def until(stack: WholeStack, before: dict[str, float], expected: dict[str, int]) -> Samples:
    """The metrics as soon as they have grown by what is expected; AssertionError with the difference."""
    give_up_at = asyncio.get_running_loop().time() + WITHIN
    while True:
        samples = await asyncio.to_thread(scrape, stack)
        grown = {name: number - before[name] for name, number in of_messages(samples).items()}
        if grown == expected:
            return samples
        assert asyncio.get_running_loop().time() < give_up_at, grown
        await asyncio.sleep(0.3)


async def test_a_running_stack_counts_exactly_what_clients_sent_and_got(stack: WholeStack) -> None:
    pair = Pair(await asyncio.to_thread(app_of_its_own, stack, "counted"))  # no broadcast of others comes
    await quiet(stack)
    await connect(pair.clients)
    await asyncio.sleep(2.5)  # what that did is in all files then
    first = await asyncio.to_thread(scrape, stack)
    await pair.talk()
    sent = 2 * EACH
    expected = dict.fromkeys(
        ("stored", "PUBLISH out", "PUBACK in", "pushes", "delivered", "acknowledged"), sent
    )
    expected |= {"PUBLISH in": sent + 1, "PUBACK out": sent + 1, "refused": 1, "malformed": 1, "notices": 0}
    samples = await until(stack, of_messages(first), expected)
    assert value(samples, "imcloud_presence_users") >= 2
    assert value(samples, "imcloud_connections", generation="4") >= 2
    assert value(samples, "imcloud_append_rows_sum") - value(first, "imcloud_append_rows_sum") >= sent
    await asyncio.to_thread(
        wait_for,
        lambda: (
            value(scrape(stack), "imcloud_workers")
            == sum(len(stack.workers(kind)) for kind in ("message", "query", "webhook"))
        ),
        WORKERS_WITHIN,
        "not as many workers as the nodes say",  # at the same moment: there are more while queues are slow
    )
    assert value(samples, "imcloud_queue_wait_seconds") < 5
    await disconnect(pair.clients)
    await asyncio.sleep(2.5)
    last = await asyncio.to_thread(scrape, stack)
    open_now = value(samples, "imcloud_connections") - 2
    assert value(last, "imcloud_connections") <= open_now
    assert value(last, "imcloud_messages_total") == value(samples, "imcloud_messages_total")
