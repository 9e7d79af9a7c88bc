"""Who changed the topology, when, and from what to what: the admin pages' own log, with the values in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.forms import BaseModelForm, ModelChoiceField
from django.http import HttpRequest
from django.utils.text import capfirst

from apps.routing.models import AccessPoint, Actor, Cluster, NetworkRange, Node, ServerSet

TOPOLOGY: tuple[type[Model], ...] = (Cluster, ServerSet, Node, Actor, AccessPoint, NetworkRange)


def changed(what: str, before: object, after: object) -> str:
    """One change as the log has it."""
    return f"{what}: {_text(before)} → {_text(after)}."


def entries(limit: int) -> list[LogEntry]:
    """The newest entries about the topology, the newest first."""
    types = ContentType.objects.get_for_models(*TOPOLOGY).values()
    log = LogEntry.objects.filter(content_type__in=types).select_related("user", "content_type")
    return list(log.order_by("-action_time", "-pk")[:limit])


class Audited(admin.ModelAdmin):
    """Its changes are logged with the values, those made in the list too."""

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        if add:
            return super().construct_change_message(request, form, formsets, add)
        changes = [*_changes(form)]
        for formset in formsets or ():
            changes += _inline_changes(formset)
        return " ".join(changes) or "Nothing changed."


def _changes(form: BaseModelForm[Any]) -> Iterator[str]:
    for name in form.changed_data:
        field = form.fields.get(name)
        if field is None:
            continue
        before, after = form.get_initial_for_field(field, name), form.cleaned_data.get(name)
        if isinstance(field, ModelChoiceField) and field.queryset is not None:
            before = field.queryset.filter(pk=before).first()
        yield changed(str(form[name].label), before, after)


def _inline_changes(formset: Any) -> Iterator[str]:
    for row in formset.new_objects:
        yield f"Added {_named(row)}."
    changed_rows = {row.pk for row, _ in formset.changed_objects}
    for form in formset.initial_forms:
        if form.instance.pk in changed_rows:
            yield f"{capfirst(_named(form.instance))}: {' '.join(_changes(form))}"
    for row in formset.deleted_objects:
        yield f"Deleted {_named(row)}."


def _named(row: Model) -> str:
    return f"{row._meta.verbose_name} {row}"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "(none)" if value in (None, "") else str(value)
