"""Access points in their table, in navigation, in admin and at the command line."""

import json
import time
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import msgpack
import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User as Operator
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from apps.accounts import command_line
from apps.accounts.directory import directory
from apps.accounts.models import Tenant
from apps.routing import access_points, presence
from apps.routing.models import AccessPoint, Cluster, NetworkRange
from apps.routing.protocol.status import ConnStatus
from imcloud.config import Config

Beat = Callable[..., None]


@pytest.fixture
def cluster(databases: None, redis_client: "redis.Redis") -> Iterator[Cluster]:
    directory.renew()
    yield Cluster.objects.create(name="main")
    AccessPoint.objects.all().delete()
    redis_client.flushall()
    known()


def known() -> None:
    """Have this process know what is written, now."""
    access_points.table.renew()
    access_points.loads.renew()


@pytest.fixture
def beat(redis_client: "redis.Redis") -> Beat:
    """As gateways do: so many connections at each access point."""

    def beaten(**loads: int) -> None:
        for name, connections in loads.items():
            process = f"{name}.1"
            redis_client.zadd(presence.GATEWAYS, {process: time.time() * 1000})
            redis_client.set(presence.load_key(process), msgpack.packb([name.replace("_", "-"), connections]))
        known()

    return beaten


def point(cluster: Cluster, name: str, **fields: Any) -> AccessPoint:
    fields = {"address": f"{name}.example:443", **fields}
    return AccessPoint.objects.create(cluster=cluster, name=name, **fields)


def servers(client: str = "192.0.2.1", **headers: str) -> list[str]:
    """What navigation says to a client at that address."""
    key = Tenant.objects.get_or_create(name="Alice's")[0].app_key
    directory.renew()
    known()
    headers = {"host": "navi.example:8000", **headers}
    text = Client(REMOTE_ADDR=client).get("/navi.js", {"appId": key}, headers=headers).content.decode()
    answer = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return [answer["server"], *filter(None, answer["backupServer"].split(","))]


def test_navigation_hands_out_what_is_up_beats_and_has_room(cluster: Cluster, beat: Beat) -> None:
    for name in ("a", "b", "silent"):
        point(cluster, name)
    point(cluster, "full", connection_limit=7)
    point(cluster, "draining", state="draining")
    point(cluster, "out", state="down")
    beat(a=1, b=1, full=7, draining=0, out=0)
    assert sorted(servers()) == ["a.example:443", "b.example:443"]
    beat(full=6)
    assert sorted(servers()) == ["a.example:443", "b.example:443", "full.example:443"]


def test_clients_of_a_network_find_the_gateways_near_them_first(
    cluster: Cluster, beat: Beat, settings: Any
) -> None:
    point(cluster, "north", region="north", site="a")
    point(cluster, "south", region="south", site="b")
    NetworkRange.objects.create(network="192.0.2.0/24", region="south")
    NetworkRange.objects.create(network="192.0.2.128/25", region="north", site="a")
    NetworkRange.objects.create(network="2001:db8::/32", region="south")
    beat(north=0, south=0)
    assert servers("192.0.2.1") == ["south.example:443", "north.example:443"]
    assert servers("192.0.2.200") == ["north.example:443", "south.example:443"]
    assert servers("2001:db8::1")[0] == "south.example:443"
    forwarded = {"X-Forwarded-For": "192.0.2.200"}
    assert servers("192.0.2.1", **forwarded)[0] == "south.example:443"
    settings.PROXIES = Config.__dataclass_fields__["proxies"].metadata["parse"]("192.0.2.1, fd00::/8")
    assert servers("192.0.2.1", **forwarded)[0] == "north.example:443"
    NetworkRange.objects.get(network="192.0.2.128/25").delete()
    assert servers("192.0.2.1", **forwarded)[0] == "south.example:443"


def test_the_request_answers_for_what_an_address_leaves_open(
    cluster: Cluster, beat: Beat, settings: Any
) -> None:
    assert servers() == ["navi.example:8000"]
    first = point(cluster, "gateway", address="")
    assert servers() == ["navi.example:8000"]
    settings.PUBLIC_ADDRESS = "im.example:443"
    assert servers() == ["im.example:443"]
    settings.PUBLIC_ADDRESS = ""
    AccessPoint.objects.filter(pk=first.pk).update(address=":8000")
    point(cluster, "gateway-2", address=":8001")
    beat(gateway=0, gateway_2=0)
    assert sorted(servers()) == ["navi.example:8000", "navi.example:8001"]


def test_a_gateway_that_is_silent_or_gone_is_no_longer_known(
    cluster: Cluster, beat: Beat, redis_client: "redis.Redis"
) -> None:
    beat(a=3, b=4, c=5)
    redis_client.zadd(presence.GATEWAYS, {"a.1": (time.time() - presence.MISSED - 1) * 1000})
    redis_client.delete(presence.load_key("b.1"))
    assert presence.loads() == {"c": 5}


def test_several_gateways_at_one_address_share_an_access_point(
    cluster: Cluster, beat: Beat, redis_client: "redis.Redis"
) -> None:
    beat(a=3)
    redis_client.zadd(presence.GATEWAYS, {"a.2": time.time() * 1000})
    redis_client.set(presence.load_key("a.2"), msgpack.packb(["a", 4]))
    assert presence.loads() == {"a": 7}


def test_without_redis_the_last_known_loads_stay(
    cluster: Cluster, beat: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> dict[str, int]:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(presence, "loads", away)
        assert access_points.read_loads(None) == {}
        with pytest.raises(redis.ConnectionError):  # which has Renewed keep what it has
            access_points.read_loads({"a": 3})


def test_without_any_beat_what_is_up_is_handed_out(cluster: Cluster) -> None:
    point(cluster, "a")
    point(cluster, "b", state="draining")
    assert servers() == ["a.example:443"]


def test_a_gateway_is_at_the_access_point_of_its_setting_or_at_the_first(
    cluster: Cluster, settings: Any
) -> None:
    known()
    assert access_points.own() == "gateway"
    point(cluster, "one")
    point(cluster, "two")
    known()
    assert access_points.own() == "one"
    settings.ACCESS_POINT = "two"
    assert access_points.own() == "two"
    settings.ACCESS_POINT = "three"
    with pytest.raises(
        access_points.NoSuchAccessPoint, match=r"^There is no access point three; there are one, two\.$"
    ):
        access_points.own()


def test_a_gateway_that_takes_no_more_redirects_while_another_one_takes_them(
    cluster: Cluster, beat: Beat
) -> None:
    one = point(cluster, "one", connection_limit=2)
    two = point(cluster, "two")
    beat(one=2, two=0)
    assert access_points.admission("one", 1) == ConnStatus.ACCEPTED
    assert access_points.admission("one", 2) == ConnStatus.REDIRECT
    AccessPoint.objects.filter(pk=one.pk).update(state="draining")
    known()
    assert access_points.admission("one", 0) == ConnStatus.REDIRECT
    AccessPoint.objects.filter(pk=two.pk).update(state="down")
    known()
    assert access_points.admission("one", 0) == ConnStatus.ACCEPTED
    assert access_points.admission("one", 2) == ConnStatus.PLATFORM_UNAVAILABLE
    assert access_points.admission("two", 0) == ConnStatus.PLATFORM_UNAVAILABLE
    assert access_points.admission("unknown", 10**6) == ConnStatus.ACCEPTED


def test_run_arranges_access_points_of_two_sites_and_leaves_the_site_that_an_operator_set(
    cluster: Cluster,
) -> None:
    point(cluster, "gateway", site="elsewhere")
    access_points.arrange(range(8000, 8004), ["a", "b", "a", "b"])
    sites = dict(AccessPoint.objects.values_list("name", "site"))
    assert sites == {"gateway": "elsewhere", "gateway-2": "b", "gateway-3": "a", "gateway-4": "b"}


def test_run_arranges_one_access_point_a_gateway_and_leaves_what_an_operator_set(cluster: Cluster) -> None:
    def addresses() -> dict[str, str]:
        return dict(AccessPoint.objects.order_by("pk").values_list("name", "address"))

    assert access_points.arrange([8000]) == ["gateway"]
    assert addresses() == {"gateway": ""}
    assert access_points.arrange(range(8000, 8003)) == ["gateway", "gateway-2", "gateway-3"]
    assert addresses() == {"gateway": ":8000", "gateway-2": ":8001", "gateway-3": ":8002"}
    AccessPoint.objects.filter(name="gateway-2").update(address="im.example:443", weight=3.0)
    point(cluster, "other")
    access_points.arrange(range(8002, 8005))
    assert addresses() == {
        "gateway": ":8002",
        "gateway-2": "im.example:443",
        "gateway-3": ":8004",
        "other": "other.example:443",
    }
    access_points.arrange([8000])
    assert addresses() == {"gateway": "", "gateway-2": "im.example:443", "other": "other.example:443"}
    assert AccessPoint.objects.get(name="gateway-2").weight == 3.0
    assert logged() == [
        ("gateway", "Added."),
        ("gateway", "Address: (none) → :8000."),
        ("gateway-2", "Added."),
        ("gateway-3", "Added."),
        ("gateway", "Address: :8000 → :8002."),
        ("gateway-3", "Address: :8002 → :8004."),
        ("gateway-3", "Deleted."),
        ("gateway", "Address: :8002 → (none)."),
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "a b"}, "The name of an access point has 1 to 64 letters"),
        ({"name": "one"}, "Access point with this Name already exists."),
        ({"address": "one.example:443"}, "Another access point of the cluster has this address."),
        ({"address": "http://x:1"}, "http://x:1 is not an address; it must be HOST:PORT"),
        ({"weight": -1.0}, "The weight of an access point is a number from 0 to 1000."),
        ({"weight": float("nan")}, "The weight of an access point is a number from 0 to 1000."),
        ({"weight": float("inf")}, "The weight of an access point is a number from 0 to 1000."),
        ({"connection_limit": -1}, "Ensure this value is greater than or equal to 0."),
        ({"state": "gone"}, "Value 'gone' is not a valid choice."),
    ],
)
def test_a_wrong_access_point_is_refused_with_a_sentence(
    cluster: Cluster, fields: dict[str, Any], sentence: str
) -> None:
    point(cluster, "one")
    wrong = AccessPoint(**{"cluster": cluster, "name": "two", "address": "two.example:443", **fields})
    with pytest.raises(ValidationError) as refused:
        wrong.full_clean()
    assert any(sentence in message for message in refused.value.messages), refused.value.messages


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("10.0.0.0/8", "This network is in the table already."),
        ("::ffff:10.0.0.0/104", "This network is in the table already."),
        ("10.0.0.0/33", "10.0.0.0/33 is not a network"),
        ("10.0.0.1/8", "10.0.0.1/8 has bits beyond its prefix; the network is 10.0.0.0/8"),
    ],
)
def test_a_wrong_network_is_refused_with_a_sentence(cluster: Cluster, network: str, sentence: str) -> None:
    NetworkRange.objects.create(network="10.0.0.0/8", region="north")
    NetworkRange(network="10.0.0.0/9", region="south").full_clean()  # overlaps, and is the nearer one
    with pytest.raises(ValidationError) as refused:
        NetworkRange(network=network, region="south").full_clean()
    assert any(sentence in message for message in refused.value.messages), refused.value.messages


def test_equal_networks_are_refused_by_the_database_too(cluster: Cluster) -> None:
    NetworkRange.objects.create(network="2001:DB8::/32", region="north")
    with pytest.raises(IntegrityError):
        NetworkRange.objects.create(network="2001:db8:0::/32", region="north")


def accesspoints(*arguments: str) -> str:
    out = StringIO()
    call_command("accesspoints", *arguments, stdout=out)
    return out.getvalue()


def logged() -> list[tuple[str, str]]:
    """What manage.py has changed, as the admin pages' log has it."""
    entries = LogEntry.objects.filter(user__username=command_line.who()).order_by("pk")
    return list(entries.values_list("object_repr", "change_message"))


def test_the_command_drains_takes_out_resumes_and_lists(cluster: Cluster, beat: Beat) -> None:
    point(cluster, "one")
    point(cluster, "two")
    beat(one=5, two=0)
    assert accesspoints("drain", "one") == "one is draining\n"
    listed = accesspoints("list").splitlines()
    row = ["one", "one.example:443", "main", "local", "local", "1", "-", "5", "draining"]
    assert listed[1].split() == row
    assert accesspoints("resume", "one") == "one is up\n"
    assert accesspoints("takeout", "two") == "two is down\n"
    with pytest.raises(CommandError, match=r"^No other access point that is up takes the clients of one\.$"):
        accesspoints("drain", "one")
    with pytest.raises(CommandError, match=r"^There is no access point three; there are one, two\.$"):
        accesspoints("drain", "three")
    with pytest.raises(CommandError, match=r"^drain needs the name of an access point\.$"):
        accesspoints("drain")
    assert accesspoints("resume", "one") == "one is up\n"  # it was
    assert logged() == [
        ("one", "State: up → draining."),
        ("one", "State: draining → up."),
        ("two", "State: up → down."),
    ]


@pytest.mark.parametrize("way", ["page", "list"])
def test_the_last_one_of_a_cluster_that_is_up_is_not_deleted(cluster: Cluster, beat: Beat, way: str) -> None:
    one, two = point(cluster, "one"), point(cluster, "two", state="down")
    point(Cluster.objects.create(name="second"), "other")
    browser = Client()
    browser.force_login(Operator.objects.create_superuser("operator"))

    def delete(which: AccessPoint) -> str:
        url, form = reverse("admin:routing_accesspoint_delete", args=[which.pk]), {"post": "yes"}
        if way == "list":
            url = reverse("admin:routing_accesspoint_changelist")
            form |= {"action": "delete_selected", "_selected_action": str(which.pk)}
        return browser.post(url, form, follow=True).content.decode()

    page = delete(one)
    assert (
        "Access point one is the last one of main that is up." in page and "successfully" not in page.lower()
    )
    assert AccessPoint.objects.filter(pk=one.pk).exists() and not LogEntry.objects.exists()
    assert "successfully" in delete(two).lower()
    point(cluster, "three")
    assert "successfully" in delete(one).lower()
    assert not AccessPoint.objects.filter(name__in=("one", "two")).exists()


def test_waiting_for_an_empty_access_point_returns_when_it_is(
    cluster: Cluster, beat: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.routing.management.commands import accesspoints as command

    monkeypatch.setattr(command, "FOLLOWED", 0.0)
    point(cluster, "one")
    point(cluster, "two")
    beat(one=0, two=0)
    assert accesspoints("drain", "one", "--wait").splitlines() == ["one is draining", "one is empty"]


def test_the_actions_of_the_admin_pages_change_states_and_write_who_did_it(
    cluster: Cluster, beat: Beat
) -> None:
    one, two = point(cluster, "one"), point(cluster, "two")
    beat(one=5)
    browser = Client()
    browser.force_login(Operator.objects.create_superuser("operator"))
    url = reverse("admin:routing_accesspoint_changelist")
    page = browser.get(url).content.decode()
    assert ">5<" in page and "no gateway beats" in page

    def act(action: str, *points: AccessPoint) -> str:
        form = {"action": action, "_selected_action": [each.pk for each in points]}
        return browser.post(url, form, follow=True).content.decode()

    assert "Access point one is draining." in act("drain", one)
    page = act("take_out", two)
    assert "Access point two is the last one of main that is up." in page
    assert "Access point one is up." in act("resume", one)
    assert "Access point two is down." in act("take_out", two)
    states = dict(AccessPoint.objects.values_list("name", "state"))
    assert states == {"one": "up", "two": "down"}
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "State: up → draining.",
        "State: draining → up.",
        "State: up → down.",
    ]
