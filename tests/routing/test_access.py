"""The access point strategy: who is handed out, in which order; its promises for any table of points."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.routing import access, addresses
from apps.routing.access import DRAINING, HANDED_OUT, Point, order
from apps.routing.addresses import NOWHERE, Networks, Place

USERS = [f"user{n}" for n in range(4000)]

places = st.builds(
    Place, region=st.sampled_from(["", "north", "south"]), site=st.sampled_from(["", "a", "b"])
)
points = st.lists(
    st.builds(
        Point,
        name=st.sampled_from([f"p{n}" for n in range(8)]),
        site=st.sampled_from(["a", "b", "c"]),
        region=st.sampled_from(["north", "south"]),
        weight=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        limit=st.sampled_from([0, 0, 50]),
        state=st.sampled_from(["up", "up", "up", DRAINING, "down"]),
    ),
    unique_by=lambda point: point.name,
    max_size=8,
)
loads = st.dictionaries(st.sampled_from([f"p{n}" for n in range(8)]), st.integers(0, 100))


def names(found: list[Point]) -> list[str]:
    return [point.name for point in found]


@given(points, loads, places)
def test_only_open_points_are_handed_out_while_there_are_any(
    table: list[Point], load: dict[str, int], place: Place
) -> None:
    found = order(table, load, place, "alice")
    able = [point for point in table if access.is_open(point, load)]
    if able:
        assert set(found) <= set(able)
    assert len(found) == min(HANDED_OUT, len(access.handed_out(table, load)))
    assert len(set(found)) == len(found)
    assert all(point.state != "down" for point in found)


@given(points, loads, places)
def test_the_server_is_as_near_as_any_and_a_backup_is_at_another_site_if_there_is_one(
    table: list[Point], load: dict[str, int], place: Place
) -> None:
    found = order(table, load, place, "alice")
    able = access.handed_out(table, load)
    if found:
        assert access.distance(found[0], place) == min(access.distance(point, place) for point in able)
        assert len({point.site for point in found}) > 1 or len({point.site for point in able}) == 1


@given(points, loads, places, st.randoms(use_true_random=False))
def test_the_order_hangs_on_nothing_but_what_is_given(
    table: list[Point], load: dict[str, int], place: Place, random: Any
) -> None:
    shuffled = random.sample(table, len(table))
    assert order(shuffled, load, place, "1", "alice") == order(table, load, place, "1", "alice")


@given(points, places)
def test_a_point_that_dies_moves_only_its_own_users(table: list[Point], place: Place) -> None:
    alive = {point.name: 0 for point in table}
    for user in USERS[:30]:
        before = order(table, alive, place, user)
        if len(before) < 2:
            continue
        dead = {name: 0 for name in alive if name != before[-1].name}
        assert order(table, dead, place, user)[0] == before[0]


def test_users_spread_by_weight() -> None:
    table = [Point("one"), Point("two", weight=2.0), Point("five", weight=5.0), Point("none", weight=0.0)]
    load = dict.fromkeys(("one", "two", "five", "none"), 0)
    counts = Counter(order(table, load, NOWHERE, user)[0].name for user in USERS)
    assert {name: round(8 * count / len(USERS)) for name, count in counts.items()} == {
        "one": 1,
        "two": 2,
        "five": 5,
    }


def test_whoever_has_more_than_its_share_comes_after_its_equals_until_it_has_not() -> None:
    table = [Point("light", weight=1.0), Point("heavy", weight=3.0)]
    at_limit = {"light": 126 + access.SLACK_MIN, "heavy": 400 - 126 - access.SLACK_MIN}
    assert access.crowded(table, {"light": 80, "heavy": 320}) == set()
    assert access.crowded(table, at_limit) == {"light"}
    assert {order(table, at_limit, NOWHERE, user)[0].name for user in USERS[:200]} == {"heavy"}


def test_a_few_connections_more_are_not_crowded() -> None:
    assert access.crowded([Point("a"), Point("b")], {"a": access.SLACK_MIN, "b": 0}) == set()


def test_clients_that_come_one_by_one_are_spread_within_the_slack() -> None:
    table = [Point(name) for name in "abc"]
    load = dict.fromkeys("abc", 0)
    for user in USERS:
        load[order(table, load, NOWHERE, user)[0].name] += 1
    assert max(load.values()) <= (1 + access.SLACK) * len(USERS) / 3 + access.SLACK_MIN + 1


def test_region_counts_more_than_site_and_what_is_not_known_is_near() -> None:
    near, region, site, far = (
        Point("near", site="a", region="north"),
        Point("region", site="b", region="north"),
        Point("site", site="a", region="south"),
        Point("far", site="b", region="south"),
    )
    load = dict.fromkeys(("near", "region", "site", "far"), 0)
    assert order([far, site, region, near], load, Place("north", "a"), "x") == [near, region, site, far]
    assert {access.distance(point, NOWHERE) for point in (near, region, site, far)} == {0}
    assert [access.distance(point, Place(region="north")) for point in (near, region, site, far)] == [
        0,
        0,
        2,
        2,
    ]


def test_the_last_backup_makes_place_for_another_site() -> None:
    table = [Point(f"a{n}", site="a", region="north") for n in range(6)]
    table.append(Point("b", site="b", region="south"))
    load = {point.name: 0 for point in table}
    found = order(table, load, Place("north"), "alice")
    assert len(found) == HANDED_OUT and names(found)[-1] == "b"


def test_without_an_open_point_the_next_best_is_named() -> None:
    full, drained = Point("full", limit=5), Point("drained", state=DRAINING)
    out, silent = Point("out", state="down"), Point("silent")
    load = {"full": 5, "drained": 0, "out": 0}
    table = [full, drained, out, silent]
    assert names(order(table, load, NOWHERE, "x")) == ["full"]
    assert names(order([drained, out, silent], load, NOWHERE, "x")) == ["drained"]
    assert names(order([out, silent], load, NOWHERE, "x")) == ["silent"]
    assert order([out], load, NOWHERE, "x") == []
    assert order([], {}, NOWHERE, "x") == []


def test_a_limit_is_reached_by_its_last_connection() -> None:
    point = Point("p", limit=10)
    assert access.is_open(point, {"p": 9}) and not access.is_open(point, {"p": 10})
    assert access.is_open(replace(point, limit=0), {"p": 10**6})


def test_clients_can_go_elsewhere_only_within_the_cluster_and_to_one_that_is_open() -> None:
    own, other, foreign = (
        Point("own", cluster="c"),
        Point("other", cluster="c"),
        Point("foreign", cluster="d"),
    )
    assert access.elsewhere([own, other, foreign], {"other": 0}, "own")
    assert not access.elsewhere([own, foreign], {"own": 0, "foreign": 0}, "own")
    assert not access.elsewhere([own, replace(other, state=DRAINING)], {"other": 0}, "own")
    assert not access.elsewhere([own, other], {"own": 0}, "own")


# --- networks and addresses


def networks(**places: str) -> Networks:
    return Networks((addresses.network(text), Place(region)) for region, text in places.items())


def region(table: Networks, address: str) -> str:
    return table.place(addresses.client_address(address)).region


def test_the_longest_prefix_wins_in_both_families() -> None:
    table = networks(
        wide="10.0.0.0/8", narrow="10.1.0.0/16", one="10.1.2.3", six="2001:db8::/32", inner="2001:db8:1::/48"
    )
    assert [region(table, text) for text in ("10.9.9.9", "10.1.9.9", "10.1.2.3", "11.0.0.1")] == [
        "wide",
        "narrow",
        "one",
        "",
    ]
    assert [region(table, text) for text in ("2001:db8:2::1", "2001:db8:1::1", "2001:db9::")] == [
        "six",
        "inner",
        "",
    ]
    assert region(table, "::ffff:10.1.9.9") == "narrow"
    assert region(table, "") == region(table, "unix") == ""


@given(st.lists(st.tuples(st.ip_addresses(), st.integers(0, 128)), max_size=12), st.ip_addresses())
def test_the_place_is_the_one_that_a_search_through_all_networks_finds(given: Any, address: Any) -> None:
    table = {
        addresses.network(str(_network(base, length))): Place(f"{base}/{length}") for base, length in given
    }
    client = addresses.client_address(str(address))
    holding = [net for net in table if client and net.version == client.version and client in net]
    expected = table[max(holding, key=lambda net: net.prefixlen)] if holding else NOWHERE
    assert Networks(table.items()).place(client) == expected


def _network(base: Any, length: int) -> Any:
    shift = base.max_prefixlen - min(length, base.max_prefixlen)
    return f"{type(base)(int(base) >> shift << shift)}/{base.max_prefixlen - shift}"


def test_a_default_network_holds_all_of_its_family() -> None:
    assert region(networks(all="0.0.0.0/0"), "203.0.113.9") == "all"
    assert region(networks(all="0.0.0.0/0"), "2001:db8::1") == ""


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        (" 10.0.0.1 ", "10.0.0.1/32"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
    ],
)
def test_a_network_has_one_form(text: str, form: str) -> None:
    assert str(addresses.network(text)) == form


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "im.example", "10.0.0", "::/129", "10.0.0.0/-1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network; it must be like"):
        addresses.network(text)


def test_a_network_with_bits_beyond_its_prefix_is_refused_with_the_right_one() -> None:
    with pytest.raises(
        ValueError, match=r"10\.1\.2\.3/8 has bits beyond its prefix; the network is 10\.0\.0\.0/8"
    ):
        addresses.network("10.1.2.3/8")


@pytest.mark.parametrize("text", ["", "im.example:443", "192.0.2.1:8000", "[2001:db8::1]:8000", ":8001"])
def test_addresses_of_every_form_are_taken(text: str) -> None:
    addresses.check_address(text)


@pytest.mark.parametrize(
    "text",
    ["im.example", "im.example:0", "im.example:65536", "http://im.example:80", "a b:1", "::1:80", "a,b:1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        addresses.check_address(text)


@pytest.mark.parametrize(
    ("address", "host", "completed"),
    [
        ("im.example:443", "navi.example:80", "im.example:443"),
        ("", "navi.example:80", "navi.example:80"),
        (":8001", "navi.example:8000", "navi.example:8001"),
        (":8001", "navi.example", "navi.example:8001"),
        (":8001", "[::1]:8000", "[::1]:8001"),
        (":8001", "[::1]", "[::1]:8001"),
    ],
)
def test_an_address_is_completed_by_the_host_that_was_asked(address: str, host: str, completed: str) -> None:
    assert addresses.completed(address, host) == completed


def test_only_our_own_proxies_are_believed() -> None:
    ours = [addresses.network("10.0.0.0/8"), addresses.network("fd00::/8")]
    assert addresses.behind("192.0.2.1", "198.51.100.7", ours) == "192.0.2.1"
    assert addresses.behind("10.0.0.1", "198.51.100.7", ours) == "198.51.100.7"
    assert addresses.behind("10.0.0.1", "6.6.6.6, 198.51.100.7, 10.0.0.2", ours) == "198.51.100.7"
    assert addresses.behind("10.0.0.1", "", ours) == "10.0.0.1"
    assert addresses.behind("10.0.0.1", "nonsense", ours) == "nonsense"
    assert addresses.behind("::ffff:10.0.0.1", "2001:db8::1", ours) == "2001:db8::1"
