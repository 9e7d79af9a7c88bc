"""`manage.py sites list|stop|start`: the two sites of `make run SITES=2`, one of which can be stopped."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.routing import redis_clients
from apps.routing.models import ServerSet
from imcloud import embedded, sites
from imcloud.management.commands.run import alive, ready
from imcloud.sites import Sites

FOLLOWED_MAX = 30.0  # s that the launcher may take to do what it is told
READY_MAX = 120.0  # s that a site which was started again may take to serve
LOOK = 0.1  # s

Look = Callable[[], tuple[bool, str]]


class Command(BaseCommand):
    help = (
        "Lists the two sites of `make run SITES=2`; stops one (kills all its processes at once, as if its "
        "power had failed), and starts it again."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="what is at each site, and whether it runs")
        for action, text in (("stop", "kill all processes of a site"), ("start", "start them again")):
            actions.add_parser(action, help=text).add_argument("site", help=" or ".join(sites.NAMES))

    def handle(self, *args: Any, action: str, site: str = "", **options: Any) -> None:
        self.config = settings.CONFIG
        both = sites.of(self.config.data)
        if both is None or not self._runs():
            raise CommandError(f"No run with two sites is there on {self.config.data}: make run SITES=2.")
        if action == "list":
            self._list(both)
        elif site not in sites.NAMES:
            raise CommandError(f"There is no site {site}; the sites are {' and '.join(sites.NAMES)}.")
        elif action == "stop":
            self._stop(site)
        else:
            self._start(site, both)

    def _runs(self) -> bool:
        try:
            return alive((self.config.data / "lock").read_text().strip()) and bool(self._run())
        except OSError:
            return False

    def _run(self) -> dict[str, Any]:
        """What the run tells of itself."""
        found: dict[str, Any] = json.loads((self.config.data / "run.json").read_text())
        return found

    def _list(self, both: Sites) -> None:
        run = self._run()
        kept = ServerSet.objects.order_by("pk").values_list("name", "database", "standby")
        for site in sites.NAMES:
            state = "stopped" if site in run["stopped_sites"] else "up"
            names = [name for name, at in run["sites"].items() if at == site]
            self.stdout.write(f"{site}  {state}: {', '.join(names)}")
            for name, primary, standby in kept:
                for what, url in (("primary", primary), ("standby", standby)):
                    if url == self.config.site_database(site, name):
                        self.stdout.write(f"   {what} database of {name}")
        self.stdout.write(f"the master of Redis is {self._master(both)}")

    def _master(self, both: Sites) -> str:
        try:
            port = redis_clients.client(socket_timeout=2).config_get("port")["port"]  # type: ignore[index]
        except (redis.RedisError, OSError) as error:
            return f"not known: {error}"
        return next((name for name, its in both.ports.items() if str(its) == port), "elsewhere")

    def _stop(self, site: str) -> None:
        if site in self._run()["stopped_sites"]:
            raise CommandError(f"Site {site} is stopped already.")
        sites.stopped(self.config.data, site).touch()
        self._until(partial(self._followed, site, True), FOLLOWED_MAX)
        self.stdout.write(f"Site {site} is stopped: all its processes were killed.")

    def _start(self, site: str, both: Sites) -> None:
        if site not in self._run()["stopped_sites"]:
            raise CommandError(f"Site {site} is not stopped.")
        sites.stopped(self.config.data, site).unlink(missing_ok=True)
        self._until(partial(self._followed, site, False), FOLLOWED_MAX)
        run = self._run()
        for name, url in run["gateways"].items():
            if run["sites"][name] == site:
                self._until(partial(ready, self.config, urlsplit(url).port), READY_MAX)
        if len(run["stopped_sites"]) == 0:
            self._until(partial(embedded.watched, both), READY_MAX)
        self.stdout.write(f"Site {site} is started: its gateways serve.")

    def _followed(self, site: str, stopped: bool) -> tuple[bool, str]:
        return (site in self._run()["stopped_sites"]) == stopped, "the run has not done it yet"

    def _until(self, look: Look, seconds: float) -> None:
        """CommandError with what is missing when it is not there in time."""
        give_up_at = time.monotonic() + seconds
        while not (answer := look())[0]:
            if time.monotonic() > give_up_at:
                raise CommandError(f"Not within {seconds:.0f} s: {answer[1]}.")
            time.sleep(LOOK)
