"""Which cluster serves a tenant, from the moment it is made, and which gateways its clients are sent to."""

import html
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User as Operator
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse

from apps.accounts.directory import directory
from apps.accounts.models import Change, Tenant
from apps.routing import access_points, placement
from apps.routing.models import AccessPoint, Cluster, ServerSet, Slot

CLUSTERS = ["main", "east", "west"]
UNKNOWN = "There is no cluster south; the clusters are: main, east, west."


@pytest.fixture
def clusters(db: None) -> Iterator[None]:
    """Three, each with an access point of its own name."""
    directory.renew()  # of the emptied tables, whose versions begin again
    with transaction.atomic():
        for name in CLUSTERS:
            cluster = Cluster.objects.create(name=name)
            AccessPoint.objects.create(cluster=cluster, name=name, address=f"{name}.example:443")
            server_set = ServerSet.objects.get_or_create(name="set1", defaults={"cluster": cluster})[0]
            Slot.objects.create(cluster=cluster, number=0, server_set=server_set)
        access_points.table.renew()
        yield
        transaction.set_rollback(True)  # deleting a SET would ask its database
    access_points.table.renew()
    # What is rolled back now must not pass for what the next test writes: versions begin again.
    Change.objects.update(version=1 << 40)
    directory.renew()


def create(*arguments: str) -> str:
    """The cluster of the tenant that `createtenant` makes."""
    out = StringIO()
    call_command("createtenant", *arguments, stdout=out)
    return Tenant.objects.get(app_key=json.loads(out.getvalue())["app_key"]).cluster


def test_a_new_tenant_is_pinned_by_the_hash_of_its_app_key(clusters: None) -> None:
    pinned = {key: Tenant.objects.create(name=key, app_key=key).cluster for key in map(str, range(30))}
    assert pinned == {key: placement.cluster(CLUSTERS, key) for key in pinned}
    assert set(pinned.values()) == set(CLUSTERS)


def test_a_pinned_tenant_stays_when_clusters_come(clusters: None) -> None:
    tenants = [Tenant.objects.create(name=str(n)) for n in range(30)]
    before = [tenant.cluster for tenant in tenants]
    Cluster.objects.create(name="north")
    for tenant in tenants:
        tenant.state = Tenant.State.LOCKED
        tenant.save()
        tenant.rotate_secret()
    assert list(Tenant.objects.order_by("pk").values_list("cluster", flat=True)) == before


def test_a_tenant_that_was_made_before_there_were_clusters_is_not_pinned_later(db: None) -> None:
    tenant = Tenant.objects.create(name="old")
    Cluster.objects.create(name="main")
    Cluster.objects.create(name="east")
    tenant.save()
    tenant.refresh_from_db()
    assert tenant.cluster == ""  # its messages are in the first cluster's SETs


def test_a_tenant_may_be_given_a_cluster(clusters: None) -> None:
    assert create("shop", "--cluster", "west") == "west"
    assert create("game", "--key", "7") == placement.cluster(CLUSTERS, "7")
    assert create("bank", "--key", "8", "--cluster", "") == placement.cluster(CLUSTERS, "8")


def test_an_unknown_cluster_is_refused_with_those_that_there_are(clusters: None) -> None:
    with pytest.raises(CommandError, match=f"^cluster: {UNKNOWN}$"):
        create("shop", "--cluster", "south")
    assert not Tenant.objects.exists()


def test_an_unknown_cluster_is_refused_before_there_are_any(db: None) -> None:
    with pytest.raises(CommandError, match="There is no cluster south; the clusters are: none yet"):
        create("shop", "--cluster", "south")


@pytest.fixture
def operator(clusters: None) -> Client:
    browser = Client()
    browser.force_login(Operator.objects.create_superuser("operator"))
    return browser


def page(response: Any) -> str:
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def test_the_form_of_a_new_tenant_takes_a_cluster_and_refuses_an_unknown_one(operator: Client) -> None:
    path = reverse("admin:accounts_tenant_add")
    assert "Empty: chosen by the hash of the app key." in page(operator.get(path))
    form = {"name": "shop", "app_key": "shop", "state": "active", "group_size": "500"}
    assert UNKNOWN in page(operator.post(path, form | {"cluster": "south"}))
    assert not Tenant.objects.exists()
    operator.post(path, form | {"cluster": "east"})
    assert Tenant.objects.get().cluster == "east"


def test_a_tenants_cluster_is_not_the_pages_to_change(operator: Client) -> None:
    tenant = Tenant.objects.create(name="shop", cluster="east")
    path = reverse("admin:accounts_tenant_change", args=[tenant.pk])
    shown = page(operator.get(path))
    assert "for life: its messages are in this cluster's SETs" in shown and 'name="cluster"' not in shown
    operator.post(path, {"name": "market", "state": "active", "cluster": "west", "group_size": "500"})
    tenant.refresh_from_db()
    assert (tenant.name, tenant.cluster) == ("market", "east")


# --- access points


def servers(tenant: Tenant) -> list[str]:
    """What navigation says to a client of the tenant."""
    directory.renew()
    access_points.table.renew()
    headers = {"host": "navi.example:8000"}
    text = Client().get("/navi.js", {"appId": tenant.app_key}, headers=headers).content.decode()
    answer = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return [answer["server"], *filter(None, answer["backupServer"].split(","))]


@pytest.mark.parametrize(
    ("cluster", "served_by"), [("main", "main"), ("east", "east"), ("", "main"), ("gone", "main")]
)
def test_navigation_hands_out_the_access_points_of_the_tenants_cluster(
    clusters: None, cluster: str, served_by: str
) -> None:
    tenant = Tenant.objects.create(name="shop")
    tenant.cluster = cluster
    tenant.save()
    assert servers(tenant) == [f"{served_by}.example:443"]
    assert [name for name in CLUSTERS if access_points.serves(name, cluster)] == [served_by]


def test_without_an_access_point_of_its_cluster_a_client_is_sent_to_none_of_anothers(clusters: None) -> None:
    AccessPoint.objects.filter(name="east").delete()
    assert servers(Tenant.objects.create(name="shop", cluster="east")) == ["navi.example:8000"]


def test_a_gateway_without_a_row_serves_everybody(clusters: None) -> None:
    assert access_points.serves("unknown", "east") and access_points.serves("unknown", "")


def test_a_cluster_that_comes_is_known_without_any_other_change(clusters: None) -> None:
    before = access_points.table.renew()
    assert access_points.table.renew() is before
    assert before.serving("north") == "main"
    Cluster.objects.create(name="north")
    assert access_points.table.renew().serving("north") == "north"
