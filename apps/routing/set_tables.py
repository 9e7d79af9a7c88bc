"""Admin pages of the tables that every SET has in a database of its own: which SET's is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qs

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse

from apps.accounts.admin import ReadOnlyAdmin
from apps.routing import databases
from apps.routing.topology import topology

PARAMETER = "set"


def chosen(request: HttpRequest) -> str:
    """The SET that the page's address names, or the list's from which the page was opened; else the first.

    Empty when there is no SET yet. Http404 when there is none of that name.
    """
    of_list = parse_qs(request.GET.get("_changelist_filters", ""))
    asked = request.GET.get(PARAMETER) or "".join(of_list.get(PARAMETER, ()))
    sets = topology.current.sets
    if asked and asked not in sets:
        raise Http404(f"There is no SET {asked}; there are {', '.join(sets) or 'none'}.")
    return asked or next(iter(sets), "")


class SetFilter(admin.SimpleListFilter):
    """The side bar's choice. It filters nothing: `OfASet` asks the database of the SET that it names."""

    title = "SET"
    parameter_name = PARAMETER

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self._chosen = chosen(request)
        return [(name, name) for name in topology.current.sets]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        for name, display in self.lookup_choices:
            query = changelist.get_query_string({PARAMETER: name})
            yield {"selected": name == self._chosen, "query_string": query, "display": display}


class OfASet(ReadOnlyAdmin):
    """Rows of one SET at a time."""

    list_filter: ClassVar[Any] = (SetFilter,)
    show_facets = admin.ShowFacets.NEVER  # a table may have millions of rows

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        name = chosen(request)
        queryset = super().get_queryset(request)
        return queryset.using(databases.alias(name)) if name else queryset

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        obj.delete(using=obj._state.db)  # by itself it would ask the router, which knows the first SET only

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        title = f"{str(self.opts.verbose_name_plural).capitalize()} of {chosen(request) or 'no SET yet'}"
        return super().changelist_view(request, {"title": title} | (extra_context or {}))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        title = f"{str(self.opts.verbose_name).capitalize()} of {chosen(request)}"
        return super().change_view(request, object_id, form_url, {"title": title} | (extra_context or {}))
