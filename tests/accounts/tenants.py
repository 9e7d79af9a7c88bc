"""Two tenants, so that in every test somebody can be the wrong one."""

import time
from collections.abc import Iterator

import pytest

from apps.accounts.directory import Directory, TenantEntry, directory
from apps.accounts.models import Tenant
from apps.accounts.signatures import sign


def renewed() -> Directory:
    """The directory with everything that is committed."""
    return directory.renew()


def entry(tenant: Tenant) -> TenantEntry:
    found = renewed().by_id(tenant.pk)
    assert found is not None
    return found


def signed(tenant: TenantEntry, prefix: str = "", timestamp: str = "") -> dict[str, str]:
    """The headers of a request by the tenant's server."""
    timestamp = timestamp or str(int(time.time()))
    signature = sign(tenant.app_secret, "0.8444218515250481", timestamp)
    names = {"App-Key": tenant.app_key, "Nonce": "0.8444218515250481", "Timestamp": timestamp}
    return {f"{prefix}{name}": value for name, value in {**names, "Signature": signature}.items()}


@pytest.fixture
def tenants(databases: None) -> Iterator[tuple[Tenant, Tenant]]:
    """Alice's and Mallory's; the directory knows them."""
    renewed()  # of the emptied tables, whose versions begin again
    yield Tenant.objects.create(name="Alice's"), Tenant.objects.create(name="Mallory's")
    renewed()


@pytest.fixture
def alices(tenants: tuple[Tenant, Tenant]) -> TenantEntry:
    return entry(tenants[0])


@pytest.fixture
def mallorys(tenants: tuple[Tenant, Tenant]) -> TenantEntry:
    return entry(tenants[1])
