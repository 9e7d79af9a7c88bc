"""Which cluster a tenant is pinned to: chosen when it is made, and kept for life, as are its messages."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models.signals import pre_save
from django.dispatch import receiver

from apps.accounts.models import Tenant, tenant_checked
from apps.routing.models import Cluster
from apps.routing.topology import cluster_for


@receiver(pre_save, sender=Tenant)
def pin(instance: Tenant, raw: bool, **kwargs: Any) -> None:
    """Choose a new tenant's cluster. An older one without any is the first's: its messages are there."""
    if instance._state.adding and not instance.cluster and not raw:
        instance.cluster = cluster_for(instance.app_key)


@receiver(tenant_checked)
def check(tenant: Tenant, **kwargs: Any) -> None:
    names = list(Cluster.objects.order_by("pk").values_list("name", flat=True))
    if tenant.cluster and tenant.cluster not in names:
        known = ", ".join(names) or "none yet"
        raise ValidationError(
            {"cluster": f"There is no cluster {tenant.cluster}; the clusters are: {known}."}
        )
