import time
from datetime import UTC, datetime

import pytest

from apps.accounts.directory import NO_RESTRICTION, Directory, Restriction, directory, read_directory
from apps.accounts.models import Tenant, User, changing
from apps.accounts.snapshot import OfChanges
from tests.accounts.tenants import renewed

Pair = tuple[Tenant, Tenant]


def test_tenants_are_found_by_key_and_by_id(tenants: Pair) -> None:
    mine = renewed().by_key(tenants[0].app_key)
    assert mine is not None and mine is renewed().by_id(tenants[0].pk)
    assert (mine.app_secret, mine.locked) == (tenants[0].app_secret, False)
    assert renewed().by_key("nosuchkey") is None


def test_nothing_changed_means_the_very_same_directory_after_one_query(
    tenants: Pair, django_assert_num_queries: object
) -> None:
    before = renewed()
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert renewed() is before


def test_a_locked_tenant_and_a_rotated_secret_are_seen(tenants: Pair) -> None:
    tenants[0].state = Tenant.State.LOCKED
    tenants[0].save()
    secret = tenants[1].rotate_secret()
    mine, other = renewed().by_id(tenants[0].pk), renewed().by_id(tenants[1].pk)
    assert mine is not None and mine.locked
    assert other is not None and other.app_secret == secret


def test_only_restricted_users_are_held_and_each_in_its_own_tenant(tenants: Pair) -> None:
    User.objects.bulk_create(User(tenant=tenant, user_id="bob") for tenant in tenants)
    until = datetime(2100, 1, 1, tzinfo=UTC)
    bob = User.objects.get(tenant=tenants[0], user_id="bob")
    bob.blocked_until = until
    bob.save(update_fields=["blocked_until"])
    held = renewed()
    blocked = Restriction(blocked_until_ms=int(until.timestamp() * 1000))
    assert held.user_restriction(tenants[0].pk, "bob") == blocked
    assert held.user_restriction(tenants[1].pk, "bob") is NO_RESTRICTION
    bob.blocked_until = None
    bob.save()
    assert renewed().user_restriction(tenants[0].pk, "bob") is NO_RESTRICTION
    assert held.user_restriction(tenants[0].pk, "bob") != NO_RESTRICTION  # one that is held does not change


def test_a_process_that_starts_later_reads_the_same(tenants: Pair) -> None:
    User.objects.create(
        tenant=tenants[0], user_id="bob", tokens_valid_after=5, deactivated=True, deleted_at=7
    )
    later: OfChanges[Directory] = OfChanges("directory", read_directory)
    assert later.current == renewed()
    assert later.current.user_restriction(tenants[0].pk, "bob") == Restriction(5, 0, True, 7)


def test_a_change_that_is_rolled_back_is_never_seen(tenants: Pair) -> None:
    before = renewed()
    with pytest.raises(ZeroDivisionError), changing():
        Tenant.objects.filter(pk=tenants[0].pk).update(state=Tenant.State.LOCKED)
        raise ZeroDivisionError
    assert renewed() is before


def test_a_change_reaches_a_started_directory_within_a_second(tenants: Pair) -> None:
    directory.start()
    try:
        tenants[0].state = Tenant.State.LOCKED
        tenants[0].save()
        time.sleep(1)
        mine = directory.current.by_id(tenants[0].pk)
        assert mine is not None and mine.locked
    finally:
        directory.stop()
