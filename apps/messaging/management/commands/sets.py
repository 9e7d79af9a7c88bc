"""`manage.py sets`: the cells that hold the logs, and their standby databases."""

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
from apps.messaging.standby import adding
from apps.messaging.standby.command_line import ACTIONS as STANDBY
from apps.messaging.standby.shipping import StandbyAway
from apps.routing import databases, set_database
from apps.routing.models import Actor, Cluster, Durability, Node, ServerSet, Slot
from apps.routing.models import StandbyAway as WhenAway
from apps.routing.topology import default_actors, topology

FORM = "{:<16} {:<12} {:>6} {:>6} {:>6} {:>14}  {}"


class Command(BaseCommand):
    help = (
        "Lists the SETs; adds one with its database, tables and nodes (it takes no messages before "
        "`slots rebalance` or `slots move` gives it slots); brings the tables of all SETs up to date; gives "
        "a SET a standby database, makes that its primary and back, compares the two."
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

        self._add_standby_arguments(actions)

    @staticmethod
    def _add_standby_arguments(actions: Any) -> None:
        standby = actions.add_parser("standby", help="give a SET a standby database, or take it away")
        standby.add_argument("name")
        standby.add_argument("url", nargs="?", help="postgresql://… of an empty database, at another site")
        standby.add_argument("--none", action="store_true", help="the SET has none any more")
        durability = actions.add_parser("durability", help="when messages of a SET are acknowledged")
        durability.add_argument("name")
        durability.add_argument("durability", choices=Durability.values)
        durability.add_argument(
            "--when-away", choices=WhenAway.values, help="what becomes of messages while the standby is away"
        )
        failing = actions.add_parser("failover", help="make a SET's standby its primary")
        failing.add_argument("name")
        failing.add_argument("--dry-run", action="store_true", help="tell what would be lost, change nothing")
        failing.add_argument("--planned", action="store_true", help="only with nothing lost")
        back = actions.add_parser("failback", help="likewise, after a failover, with nothing lost")
        back.add_argument("name")
        confirm = actions.add_parser("confirm", help="a failover that came by itself was seen: another may")
        confirm.add_argument("name")
        cancel = actions.add_parser("cancel", help="give up a failover that has not switched yet")
        cancel.add_argument("name")
        compare = actions.add_parser("compare", help="compare a SET's standby with its primary")
        compare.add_argument("name", nargs="?", help="default: every SET that has a standby")
        compare.add_argument("--repair", action="store_true", help="bring what differs over again")
        compare.add_argument("--json", action="store_true", help="the result as JSON, one line a SET")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action in STANDBY:
            try:
                STANDBY[action](self.stdout, self.stderr, options)
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from None
            except (StandbyAway, Unavailable, psycopg.Error) as error:
                raise CommandError(" ".join(str(error).split())) from None
        elif action == "list":
            self._list()
        elif action == "migrate":
            for name, entry in topology.current.sets.items():
                databases.migrate(name)
                if entry.standby:
                    adding.migrate(name, entry.standby)
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
