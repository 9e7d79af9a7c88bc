"""The page of a cluster in the admin, and what is done there. What it shows is in `cluster_drawing`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from apps.routing import audit, cluster_drawing, keeping, slots
from apps.routing.models import AccessPoint, Cluster, Node, ServerSet, SlotMove, State

FOLDER = "admin/routing/cluster"
PAGE = "admin:routing_cluster_page"
# What can be changed on the page, by the name that its forms have for it, and where its cluster is.
CHANGEABLE: dict[str, tuple[type[Node] | type[AccessPoint], str]] = {
    "node": (Node, "server_set__cluster"),
    "accesspoint": (AccessPoint, "cluster"),
}


class ClusterPage:
    """The views, for the admin of clusters."""

    def __init__(self, cluster_admin: admin.ModelAdmin[Cluster]) -> None:
        self._admin = cluster_admin
        self._site = cluster_admin.admin_site

    def urls(self) -> list[URLPattern]:
        wrap = self._site.admin_view
        return [
            path("<slug:name>/", wrap(self.page), name="routing_cluster_page"),
            path("<slug:name>/now/", wrap(self.now), name="routing_cluster_now"),
            path("<slug:name>/set/", wrap(self.change), name="routing_cluster_set"),
            path("<slug:name>/slots/", wrap(self.move), name="routing_cluster_slots"),
        ]

    def page(self, request: HttpRequest, name: str) -> HttpResponse:
        return TemplateResponse(request, f"{FOLDER}/page.html", self._context(request, name))

    def now(self, request: HttpRequest, name: str) -> HttpResponse:
        """The part of the page that renews itself."""
        return TemplateResponse(request, f"{FOLDER}/now.html", self._context(request, name))

    def change(self, request: HttpRequest, name: str) -> HttpResponse:
        """Set weight or state of a node or an access point."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        cluster = self._cluster(request, name)
        model, of_cluster = CHANGEABLE.get(request.POST.get("kind", ""), (None, ""))
        field = request.POST.get("field", "")
        if model is None or field not in ("weight", "state"):
            raise Http404
        row: Any = get_object_or_404(model, name=request.POST.get("name", ""), **{of_cluster: cluster})
        its_admin: Any = self._site.get_model_admin(model)
        if not its_admin.has_change_permission(request, row):
            raise PermissionDenied
        value = request.POST.get("value", "")
        if (field, value) == ("state", State.DOWN) and "confirmed" not in request.POST:
            return self._ask(request, cluster, f"Take out {row}?", [_taking_out(row)], "Take out")
        try:
            change = _set(row, field, value)
        except ValidationError as error:
            self._say(request, error.messages, messages.ERROR)
        else:
            if change:
                its_admin.log_change(request, row, change)
            self._say(request, [f"{row}: {change or 'it is so already.'}"], messages.SUCCESS)
        return redirect(PAGE, name)

    def move(self, request: HttpRequest, name: str) -> HttpResponse:
        """Have slots moved, or take such moves back."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        cluster = self._cluster(request, name)
        do, text = request.POST.get("do", ""), request.POST.get("slots", "")
        if do not in ("move", "rebalance", "cancel"):
            raise Http404
        if not request.user.has_perm(f"routing.{'change' if do == 'cancel' else 'add'}_slotmove"):
            raise PermissionDenied
        try:
            if do == "cancel":
                cancelled = slots.cancel(cluster, slots.parse(text) if text.strip() else None)
                done = f"Took back the moves of slots {slots.ranges(cancelled)}." if cancelled else ""
            else:
                moves = self._plan(request, cluster, do, text)
                if moves and "confirmed" not in request.POST:
                    title = f"Move {len(moves)} slots?" if len(moves) > 1 else "Move one slot?"
                    return self._ask(request, cluster, title, slots.summary(moves), "Move")
                asked = slots.ask(moves, request.user.get_username())
                done = f"Slots to move: {'; '.join(slots.summary(asked))}." if asked else ""
        except ValidationError as error:
            self._say(request, error.messages, messages.ERROR)
            return redirect(PAGE, name)
        if done:
            self._admin.log_change(request, cluster, done)
        nothing = "No such move is still copying." if do == "cancel" else "No slot has to move."
        self._say(request, [done or nothing], messages.SUCCESS if done else messages.INFO)
        return redirect(PAGE, name)

    @staticmethod
    def _plan(request: HttpRequest, cluster: Cluster, do: str, text: str) -> list[SlotMove]:
        if do == "rebalance":
            return slots.plan_rebalance(cluster)
        destination = get_object_or_404(ServerSet, name=request.POST.get("set", ""))
        return slots.plan_move(cluster, slots.parse(text), destination)

    def _cluster(self, request: HttpRequest, name: str) -> Cluster:
        cluster = get_object_or_404(Cluster, name=name)
        if not self._admin.has_view_permission(request, cluster):
            raise PermissionDenied
        return cluster

    def _context(self, request: HttpRequest, name: str) -> dict[str, Any]:
        cluster = self._cluster(request, name)
        user = request.user
        return {
            **self._site.each_context(request),
            **cluster_drawing.draw(cluster),
            "opts": self._admin.opts,
            "title": f"Cluster {cluster}",
            "others": Cluster.objects.exclude(pk=cluster.pk).order_by("pk"),
            "may_change_nodes": user.has_perm("routing.change_node"),
            "may_change_access_points": user.has_perm("routing.change_accesspoint"),
            "may_move_slots": user.has_perm("routing.add_slotmove"),
            "may_cancel_moves": user.has_perm("routing.change_slotmove"),
        }

    def _ask(
        self, request: HttpRequest, cluster: Cluster, title: str, lines: list[str], button: str
    ) -> HttpResponse:
        """The page that asks whether to do what was posted, and posts it again with `confirmed`."""
        context = {
            **self._site.each_context(request),
            "opts": self._admin.opts,
            "title": title,
            "cluster": cluster,
            "lines": lines,
            "button": button,
            "posted": [(key, value) for key, value in request.POST.items() if key != "csrfmiddlewaretoken"],
        }
        return TemplateResponse(request, f"{FOLDER}/confirm.html", context)

    def _say(self, request: HttpRequest, sentences: list[str], level: int) -> None:
        for sentence in sentences:
            self._admin.message_user(request, sentence, level)


@transaction.atomic
def _set(row: Node | AccessPoint, name: str, value: str) -> str:
    """Give the field its new value, and say what changed; ValidationError with the reasons against it."""
    keeping.lock()  # of the last two that are live, only one may be taken out
    row.refresh_from_db(fields=[name])
    before = getattr(row, name)
    setattr(row, name, value)
    row.full_clean()
    after = getattr(row, name)
    if after == before:
        return ""
    row.save(update_fields=[name])
    return audit.changed(name.capitalize(), before, after)


def _taking_out(row: Node | AccessPoint) -> str:
    if isinstance(row, AccessPoint):
        return "All clients of its gateways are asked to move at once. No new ones are sent to it."
    return "It gets no new work. Other nodes of its SET take its share within a second."
