"""Benchmarks and fault tests choose users by their home, so it must be the server's."""

import pytest

from apps.accounts.models import Tenant
from apps.routing import placement, topology
from apps.routing.models import Slot
from bench.homes import Homes
from imcloud.config import Config


@pytest.fixture
def homes(servers: Config, databases: None) -> Homes:
    topology.bootstrap(sets=2)
    Tenant.objects.create(name="other")
    tenant = Tenant.objects.create(name="demo", cluster=topology.FIRST_CLUSTER)
    return Homes(servers.control_database, tenant.app_key)


def test_a_user_is_at_home_where_the_slot_table_says(homes: Homes) -> None:
    tenant = Tenant.objects.get(name="demo")
    of_slot = dict(Slot.objects.values_list("number", "server_set__name"))
    users = [f"user-{n}" for n in range(100)]
    slots = [placement.slot(str(tenant.pk), user) for user in users]
    assert [homes.slot(user) for user in users] == slots
    assert [homes.of(user) for user in users] == [of_slot[slot] for slot in slots]
    assert {homes.of(user) for user in users} == {"set1", "set2"}


def test_new_users_get_the_homes_that_are_wanted(homes: Homes) -> None:
    wanted = ["set1", "set2", "set2", "set1"] * 5
    users = homes.users(wanted)
    assert [homes.of(user) for user in users] == wanted
    assert len(set(users)) == len(wanted)


def test_neighbours_share_a_slot(homes: Homes) -> None:
    users = homes.neighbours("alice", 3)
    assert {homes.slot(user) for user in users} == {homes.slot("alice")}
    assert len({*users, "alice"}) == 4
