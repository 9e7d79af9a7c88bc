"""`manage.py sets list|add|migrate`: the cells that hold the logs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import psycopg
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction
from django.db.models import Count

from apps.accounts import command_line
from apps.messaging import log
from apps.messaging.log import Unavailable
from apps.routing import databases, set_database
from apps.routing.models import Actor, Cluster, Node, ServerSet, Slot
from apps.routing.topology import default_actors, topology

FORM = "{:<16} {:<12} {:>6} {:>6} {:>6} {:>14}  {}"


class Command(BaseCommand):
    help = (
        "Lists the SETs; adds one with its database, tables and nodes (it takes no messages before "
        "`slots rebalance` or `slots move` gives it slots); brings the tables of all SETs up to date."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every SET: cluster, weight, nodes, slots, its log's length")
        actions.add_parser("migrate", help="the tables of every SET's database, after an upgrade")
        add = actions.add_parser("add", help="a new SET")
        add.add_argument("name", help="such as set3")
        add.add_argument("--cluster", help="default: the first one")
        add.add_argument("--database", default="", help="postgresql://…; default: IMCLOUD_SET_DATABASE_URL")
        add.add_argument("--weight", type=float, default=1.0, help="its share of the slots (default 1)")
        add.add_argument("--nodes", type=int, default=1, help="how many nodes to make for it (default 1)")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "list":
            self._list()
        elif action == "migrate":
            for name in topology.current.sets:
                databases.migrate(name)
                self.stdout.write(f"{name}: up to date")
        else:
            self._add(**{key: options[key] for key in ("name", "cluster", "database", "weight", "nodes")})

    def _list(self) -> None:
        self.stdout.write(FORM.format("name", "cluster", "weight", "nodes", "slots", "messages", "database"))
        slots = dict(Slot.objects.values_list("server_set__name").annotate(Count("pk")))
        for each in ServerSet.objects.select_related("cluster").order_by("pk"):
            try:
                ((stored,),) = log.of(each.name).read("SELECT seq FROM messaging_head", (), within=0.0)
            except (Unavailable, psycopg.Error):
                stored = "no answer"
            nodes = Node.objects.filter(server_set=each).count()
            where = each.database or "(IMCLOUD_SET_DATABASE_URL)"
            row = (each.name, each.cluster.name, f"{each.weight:g}", nodes, slots.get(each.name, 0), stored)
            self.stdout.write(FORM.format(*row, where))

    def _add(self, name: str, cluster: str | None, database: str, weight: float, nodes: int) -> None:
        if nodes < 1:
            raise CommandError("A SET needs a node: --nodes is 1 or more.")
        new = ServerSet(name=name, cluster=self._cluster(cluster), database=database, weight=weight)
        try:
            new.full_clean()
            set_database.check_unused(name, database)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self._have_tables(new)
        with transaction.atomic():
            new.save()
            command_line.log_addition(new)
            made = self._make_nodes(new, nodes)
        self.stdout.write(
            f"{name} is there, without slots. Start its nodes: "
            + "; ".join(f"manage.py node {node}" for node in made)
            + ". Then give it slots: manage.py slots rebalance."
        )

    @staticmethod
    def _cluster(name: str | None) -> Cluster:
        found = Cluster.objects.filter(name=name).first() if name else Cluster.objects.order_by("pk").first()
        if found is None:
            names = ", ".join(Cluster.objects.order_by("pk").values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no cluster {name}; the clusters are: {names}.")
        return found

    @staticmethod
    def _have_tables(new: ServerSet) -> None:
        url = new.database or databases.url(new.name)
        try:
            databases.create(url)
            set_database.check_not_control(new.name, new.database)
            databases.register(new.name, url)
            databases.migrate(new.name)
        except (psycopg.Error, DatabaseError, OSError) as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"The database of {new.name} cannot be made ready: {reason}") from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None

    @staticmethod
    def _make_nodes(new: ServerSet, nodes: int) -> list[str]:
        taken = set(Node.objects.values_list("name", flat=True))
        free = (name for number in range(1, 100_000) if (name := f"MSG_NODE{number}") not in taken)
        made = []
        for _ in range(nodes):
            node = Node.objects.create(server_set=new, name=next(free))
            Actor.objects.bulk_create(default_actors(node))
            command_line.log_addition(node)
            made.append(node.name)
        return made
