"""`/metrics` is for who has the token, and says in Prometheus's format what the documentation says."""

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from apps.accounts.directory import directory
from apps.routing import metrics
from apps.routing.tally import Book, Labels, Numbers, Totals
from imcloud import scrape
from imcloud.config import BASE_DIR
from imcloud.secret_file import made_once

DOCS = BASE_DIR / "docs"


class Tenants:
    """A directory whose tenants are 1 to `number`."""

    def __init__(self, number: int) -> None:
        self._number = number

    def oldest(self, number: int) -> list[int]:
        return list(range(1, self._number + 1))[:number]


@pytest.fixture
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with the counts of this process."""
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(type(directory), "current", Tenants(2))
    book = Book(metrics.registry, tmp_path / "metrics")
    book.write()
    yield tmp_path
    book.close()


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x", "Bearer ä"],
)
async def test_without_the_token_there_is_nothing_to_see(folder: Path, authorization: str | None) -> None:
    shown = {} if authorization is None else {"Authorization": authorization.format(token=scrape.token())}
    response = await AsyncClient().get("/metrics", headers=shown)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert b"imcloud_" not in response.content


async def test_with_the_token_it_is_prometheus_text(folder: Path) -> None:
    token = (folder / "metrics-token").read_text() if scrape.token() else ""
    response = await AsyncClient().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {each.name: each for each in text_string_to_metric_families(response.content.decode())}
    kinds = {name.removesuffix("_total"): metric.kind for name, metric in metrics.registry.metrics.items()}
    assert {name: family.type for name, family in families.items()} == kinds


def test_the_token_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "token"
    first = made_once(file)
    assert len(first) > 32
    assert made_once(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_histograms_are_written_as_sums_of_their_buckets(folder: Path) -> None:
    totals: Totals = {name: {} for name in metrics.registry.metrics}
    totals["imcloud_append_rows"] = {("set9",): [1, 0, 2, *[0] * 7, 4, 5000.5]}
    samples = {
        (each.name, each.labels.get("le", "")): each.value
        for family in scrape.Families(totals).collect()
        for each in family.samples
    }
    assert samples["imcloud_append_rows_bucket", "1.0"] == 1
    assert samples["imcloud_append_rows_bucket", "512.0"] == 3
    assert samples["imcloud_append_rows_bucket", "+Inf"] == 7
    assert samples["imcloud_append_rows_count", ""] == 7
    assert samples["imcloud_append_rows_sum", ""] == 5000.5


def test_the_oldest_tenants_have_series_and_all_others_are_one() -> None:
    counts: dict[Labels, Numbers] = {("1",): [5.0], ("7",): [2.0], ("8",): [3.0]}
    assert scrape.bounded(counts, [1, 2]) == {("1",): [5.0], ("2",): [0.0], ("other",): [5.0]}


@pytest.mark.parametrize("name", metrics.registry.metrics)
def test_every_metric_is_documented_with_its_kind_and_on_the_dashboard(name: str) -> None:
    metric = metrics.registry.metrics[name]
    row = next(line for line in (DOCS / "metrics.md").read_text().splitlines() if f"| `{name}`" in line)
    assert row.split("|")[2].strip().startswith(metric.kind)
    assert all(f"`{label}`" in row for label in metric.labels)
    assert name in (DOCS / "grafana-dashboard.json").read_text()


def test_documentation_and_dashboard_name_no_metric_that_there_is_not() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    named = {name for text in expressions for name in re.findall(r"imcloud_\w+", text)}
    known = {
        name + ("_bucket" if metric.kind == "histogram" else "")
        for name, metric in metrics.registry.metrics.items()
    }
    assert named == known
    text = (DOCS / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(imcloud_\w+)`", text, re.M)) == set(metrics.registry.metrics)


def test_names_follow_prometheus_conventions() -> None:
    for name, metric in metrics.registry.metrics.items():
        assert re.fullmatch(r"imcloud_[a-z_]+", name)
        assert name.endswith("_total") == (metric.kind == "counter")
