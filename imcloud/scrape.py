"""`/metrics`: what all processes of this machine have counted, in Prometheus's text format."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable, Iterator
from itertools import accumulate

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from apps.accounts.directory import directory
from apps.routing import metrics
from apps.routing.tally import Histogram, Labels, Numbers, Totals
from imcloud.secret_file import made_once

TENANTS_MAX = 100  # with series of their own: the oldest ones, so that no series changes its meaning
OTHER = "other"  # all other tenants together


def token() -> str:
    """What a scraper shows as its bearer token."""
    return settings.CONFIG.metrics_token or made_once(settings.DATA_DIR / "metrics-token")


async def serve(request: HttpRequest) -> HttpResponse:
    """The metrics for who shows the token; 401 for all others, wherever they come from: it may be a proxy."""
    shown = request.headers.get("Authorization", "")
    if not hmac.compare_digest(shown.encode(), f"Bearer {token()}".encode()):
        response = HttpResponse("Show the token: Authorization: Bearer TOKEN\n", "text/plain", 401)
        response.headers["WWW-Authenticate"] = "Bearer"
        response._has_been_logged = True  # type: ignore[attr-defined]  # no fault of Django's
        return response
    text = await asyncio.to_thread(exposition)  # milliseconds that no client's packet waits for
    return HttpResponse(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def exposition() -> bytes:
    totals = metrics.registry.total(settings.DATA_DIR / "metrics")
    tenants = directory.current.oldest(TENANTS_MAX)
    totals["imcloud_messages_total"] = bounded(totals["imcloud_messages_total"], tenants)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(totals))
    return generate_latest(registry)


def bounded(by_tenant: dict[Labels, Numbers], tenants: Iterable[int]) -> dict[Labels, Numbers]:
    """The counts of these tenants, zeros included, and the sum of all others'."""
    counts: dict[Labels, Numbers] = {(name,): [0.0] for name in (*map(str, tenants), OTHER)}
    for labels, (number,) in by_tenant.items():
        counts[labels if labels in counts else (OTHER,)][0] += number
    return counts


class Families(Collector):
    """Totals as prometheus_client has them written."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        for name, metric in metrics.registry.metrics.items():
            values = self._totals[name].items()
            if isinstance(metric, Histogram):
                histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                ends = [*map(str, map(float, metric.bounds)), "+Inf"]
                for labels, (*counts, total) in values:
                    buckets = list(zip(ends, accumulate(counts), strict=True))
                    histogram.add_metric(labels, buckets, total)
                yield histogram
            else:
                kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
                family = kind(name, metric.help, labels=metric.labels)
                for labels, (number,) in values:
                    family.add_metric(labels, number)
                yield family
