"""`manage.py run`: all of imcloud on this machine, supervised, until Ctrl-C."""

from __future__ import annotations

import fcntl
import http.client
import ipaddress
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from apps.routing import databases, metrics, redis_clients, tally
from imcloud import embedded, sites
from imcloud.config import BASE_DIR, Config, database_name
from imcloud.embedded import EmbeddedError
from imcloud.launcher import POLL, Child, Launcher
from imcloud.sites import Sites

SERVER_START_MAX = 120.0  # s for PostgreSQL or Redis to load what it has
LEFTOVERS_MAX = 30.0  # s for the children of a launcher that was killed to end
READY_EVERY = 0.2  # s between looks at /readyz
PROGRESS_EVERY = 5.0  # s
OPEN_FILES = 65536  # a connection is a file
PORT_MAX = 65535
END_ORDER = (("gateway",), ("node:", "beat"), ("sentinel",), ("redis",), ("postgres",))


class Stopped(Exception):
    """A signal asked for the end."""


class Command(BaseCommand):
    help = "Start imcloud and everything that it needs; Ctrl-C ends it."
    requires_system_checks = []  # they import all that the children import

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            Run(settings.CONFIG).forever()
        except EmbeddedError as error:
            raise CommandError(str(error)) from None


class Run:
    """One run of the whole stack."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.state = config.data / "run.json"
        self.facts: dict[str, Any] = {}
        self.stopped_by: int | None = None
        self.both = sites.of(config.data)  # None: one site
        self.sites = sites.NAMES if self.both else ("",)
        self.ports = range(config.port, config.port + config.gateways * len(self.sites))  # of the gateways
        self.stopped_sites: set[str] = set()

    def forever(self) -> None:
        """Until a signal. CommandError or EmbeddedError when it cannot start."""
        refuse_other_sites(self.config, self.both)
        for port in self.ports:
            refuse_busy_port(self.config, port)
        lock = lock_data(self.config.data)
        for site in sites.NAMES:
            sites.stopped(self.config.data, site).unlink(missing_ok=True)  # of a run that has ended
        if self.both:
            refuse_taken_ports(self.both)
        raise_open_files()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.state.unlink(missing_ok=True)
        tally.clear(self.config.data / "metrics")
        metrics.start(self.config.data / "metrics")
        self.launcher = Launcher(self.config.data / "log", self._on_restart, lock)
        try:
            self._start()
            while True:
                self._tend()
        except Stopped:
            self.launcher.say(f"ending: {signal.Signals(self.stopped_by or signal.SIGTERM).name}")
        finally:
            self.state.unlink(missing_ok=True)
            self.launcher.end(*END_ORDER)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.stopped_by = number

    def _on_restart(self, child: str) -> None:
        metrics.PROCESS_RESTARTS.add(1, child)
        self._write_state()

    def _tend(self) -> None:
        """Look after the children once; Stopped after a signal."""
        if self.stopped_by is not None:
            raise Stopped
        self.launcher.tend()
        if self.both:
            self._look_at_sites()
        time.sleep(POLL)

    def _look_at_sites(self) -> None:
        """Stop and start sites as `manage.py sites` wants it, and say so in run.json."""
        wanted = {site for site in sites.NAMES if sites.stopped(self.config.data, site).exists()}
        for site in wanted - self.stopped_sites:
            self.launcher.stop(site)
            self.launcher.say(f"site {site} is stopped: all its processes were killed")
        for site in self.stopped_sites - wanted:
            self.launcher.say(f"site {site} is started again")
            self.launcher.resume(site)
        if wanted != self.stopped_sites:
            self.stopped_sites = wanted
            self._write_state()

    def _start(self) -> None:
        started_at = time.monotonic()
        self._start_servers()
        self._prepare_databases()
        self._start_processes()
        self._wait_until_ready()
        self._write_state()
        self._greet(time.monotonic() - started_at)

    def _start_servers(self) -> None:
        servers = embedded.servers(self.config)
        for server in servers:
            self.facts[f"{server.name}_binary"] = server.command[0]
            self.launcher.start(
                Child(server.name, server.command, server.site, server.account, server.stop, patience=60)
            )
        for server in servers:
            give_up_at = time.monotonic() + SERVER_START_MAX
            while not server.ready():
                if time.monotonic() > give_up_at:
                    raise EmbeddedError(
                        f"{server.name} did not start: see {self.config.data}/log/{server.name}.log."
                    )
                self._tend()
        self._have_database(self.config.control_database)
        try:
            redis_clients.client(socket_timeout=2, socket_connect_timeout=2).ping()
        except (redis.RedisError, OSError):
            raise CommandError("No Redis answers at IMCLOUD_REDIS_URL.") from None

    def _have_database(self, url: str) -> None:
        """Create it in the embedded server; CommandError when one of the operator's cannot be opened."""
        try:
            if self.config.database_url:
                psycopg.connect(url, connect_timeout=5).close()
            else:
                databases.create(url)
        except psycopg.Error as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"Cannot open the database {database_name(url)}: {reason}") from None

    def _prepare_databases(self) -> None:
        from apps.messaging import slot_moves
        from apps.routing import access_points, topology
        from imcloud import first_start

        try:
            call_command("migrate", database="default", verbosity=0, interactive=False, skip_checks=True)
            self._bootstrap()
            topology.adopt_new_methods()
            for server_set, entry in topology.topology.renew().sets.items():
                self._have_database(databases.url(server_set))
                databases.migrate(server_set)
                if entry.standby:
                    self._migrate_standby(server_set, entry.standby)
            slot_moves.hand_out()
            names = access_points.arrange(self.ports, self._in_turn(len(self.ports)) if self.both else ())
            self.gateways = dict(zip(names, self.ports, strict=True))
            self.processes = self._processes()
            tenant = first_start.demo_tenant()
            password = first_start.admin_password(self.config.data / "admin-password")
            if self.both:
                self._add_standbys()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be prepared: {' '.join(str(error).split())}") from error
        except ValidationError as error:  # of a standby
            raise CommandError(" ".join(error.messages)) from None
        finally:
            for connection in connections.all():
                connection.close()
                connection.close_pool()  # type: ignore[attr-defined]
        self.facts |= {
            "url": own_url(self.config, self.config.port),
            "gateways": {name: own_url(self.config, port) for name, port in self.gateways.items()},
            "app_key": tenant.app_key,
            "app_secret": tenant.app_secret,
            "admin": {"user": first_start.ADMIN, "password": password},
            "database_url": self.config.control_database,
            "set_database_url": self.config.set_databases,
            "redis_url": self.config.redis,
            "broker_url": self.config.broker,
        }

    def _bootstrap(self) -> None:
        """Have SETs and nodes. Of two sites, each has the primary databases of half of the SETs."""
        from apps.routing import topology

        if self.both is None:
            topology.bootstrap(self.config.sets, self.config.nodes)
            return
        homes = enumerate(sites.in_turn(self.config.sets), 1)
        urls = {f"set{n}": self.config.site_database(site, f"set{n}") for n, site in homes}
        nodes = max(self.config.nodes, len(sites.NAMES))
        topology.bootstrap(self.config.sets, nodes, urls, sites.NAMES[0])

    def _migrate_standby(self, server_set: str, url: str) -> None:
        """A start does not wait for a standby that is away: `sets migrate` does this later."""
        from apps.messaging.standby import adding

        try:
            adding.migrate(server_set, url)
        except (DatabaseError, psycopg.Error) as error:
            reason = " ".join(str(error).split())
            self.launcher.say(f"{server_set}: the tables of its standby are as they were: {reason}")

    def _add_standbys(self) -> None:
        """Have a standby at the other site for each SET whose primary database is at one."""
        from apps.messaging.standby import adding
        from apps.routing import topology

        for name, its in topology.topology.renew().sets.items():
            for site in sites.NAMES:
                if its.database == self.config.site_database(site, name) and not its.standby:
                    adding.add(name, self.config.site_database(sites.other(site), name))

    def _processes(self) -> list[tuple[str, list[str], str]]:
        """Name, command and site of each process that is to run besides the servers."""
        from apps.routing.models import Node

        at = self._in_turn(len(self.gateways))
        found = [(name, ["serve", name], site) for name, site in zip(self.gateways, at, strict=True)]
        of_set: dict[int, list[str]] = {}
        for name, server_set in Node.objects.order_by("pk").values_list("name", "server_set_id"):
            of_set.setdefault(server_set, []).append(name)
        for names in of_set.values():
            at = self._in_turn(len(names))
            found += [(f"node:{name}", ["node", name], site) for name, site in zip(names, at, strict=True)]
        return found + [(f"beat-{site}" if site else "beat", ["beat"], site) for site in self.sites]

    def _in_turn(self, number: int) -> list[str]:
        """The sites of so many that are shared out among them; empty ones if there are none."""
        return sites.in_turn(number) if self.both else [""] * number

    def _start_processes(self) -> None:
        for name, arguments, site in self.processes:
            environment = {
                "IMCLOUD_DATA": str(self.config.data),
                "IMCLOUD_PROCESS": name,
                "PYTHONUNBUFFERED": "1",
            }
            if name in self.gateways:
                environment["IMCLOUD_PORT"] = str(self.gateways[name])
            program = [sys.executable, str(BASE_DIR / "manage.py"), *arguments]
            metrics.PROCESS_RESTARTS.of(name)
            resting = partial(self._is_drained, name) if name in self.gateways else None
            self.launcher.start(
                Child(name, program, site, patience=15, environment=environment, resting=resting)
            )

    @staticmethod
    def _is_drained(gateway: str) -> bool:
        """Whether an operator has taken the gateway's access point out of service."""
        from apps.routing.models import AccessPoint, State

        try:
            return AccessPoint.objects.filter(name=gateway).exclude(state=State.UP).exists()
        except DatabaseError:
            return False
        finally:
            connections["default"].close()

    def _wait_until_ready(self) -> None:
        """Until /readyz is green everywhere: a message has gone gateway, queue, log and back."""
        for port in self.ports:
            self._wait_for(partial(ready, self.config, port), "the first message to go the whole road")
        if self.both:
            self._wait_for(partial(embedded.watched, self.both), "the Sentinels to know both Redis")

    def _wait_for(self, look: Callable[[], tuple[bool, str]], what: str) -> None:
        began = told_at = time.monotonic()
        while not (answer := look())[0]:
            asked_at = time.monotonic()
            if asked_at - told_at >= PROGRESS_EVERY:
                told_at = asked_at
                waited = f"{asked_at - began:.0f} s"
                self.launcher.say(f"waiting for {what}, {waited}: {answer[1]}")
            while time.monotonic() < asked_at + READY_EVERY:
                self._tend()

    def _write_state(self) -> None:
        """DATA/run.json: what tests and tools need to find this run. Only its owner may read the secrets."""
        if not self.facts.get("url"):
            return
        facts = self.facts | {"pids": self.launcher.pids()}
        if self.both:
            facts["sites"] = {each.name: each.site for each in self.launcher.children if each.site}
            facts["stopped_sites"] = sorted(self.stopped_sites)
        new = self.state.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(facts, file, indent=1)
        new.replace(self.state)

    def _greet(self, seconds: float) -> None:
        url, admin = self.facts["url"], self.facts["admin"]
        password = admin["password"] or "(made by another installation; manage.py changepassword admin)"
        self.launcher.say(
            f"\nimcloud is ready after {seconds:.1f} s; Ctrl-C ends it\n"
            f"  demo   {url}/demo/\n"
            f"  admin  {url}/admin/   user {admin['user']}   password {password}\n"
            f"  tenant demo   app key {self.facts['app_key']}   app secret {self.facts['app_secret']}\n"
            f"  data   {self.config.data}   logs in log/\n"
        )


def refuse_other_sites(config: Config, both: Sites | None) -> None:
    """What a data folder holds, one site or two, it holds for good."""
    if both and config.sites == 1:
        raise CommandError(
            f"{config.data} holds two sites: start it with SITES=2 (IMCLOUD_SITES=2), or set IMCLOUD_DATA to "
            "another folder."
        )
    if not both and config.sites > 1:
        raise CommandError(
            f"{config.data} holds one site: start it without SITES=2 (IMCLOUD_SITES=1), or set IMCLOUD_DATA "
            "to another folder, in which two are made."
        )


def refuse_taken_ports(both: Sites) -> None:
    for name, port in both.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((sites.HOST, port))
            except OSError as error:
                raise CommandError(
                    f"{name} cannot listen on port {port}, which is its own since the first start: "
                    f"{error.strerror}. End what listens there."
                ) from None


def refuse_busy_port(config: Config, port: int) -> None:
    if port > PORT_MAX:
        raise CommandError(
            f"IMCLOUD_PORT {config.port} leaves no room for {config.gateways} gateways: "
            f"{PORT_MAX} is the last port."
        )
    family = socket.AF_INET6 if ":" in config.bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.bind, port))
        except OSError as error:
            raise CommandError(
                f"Cannot listen on {config.bind} port {port}: {error.strerror}. "
                "Set IMCLOUD_PORT to a free port."
            ) from None


def lock_data(data: Path) -> int:
    """Take the data folder; CommandError when another run has it. Gives the lock's file descriptor.

    The children inherit it: after a launcher was killed, its servers may still be writing for a moment.
    """
    data.mkdir(parents=True, exist_ok=True)
    lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    give_up_at = time.monotonic() + LEFTOVERS_MAX
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode().strip()
            if alive(owner) or time.monotonic() > give_up_at:
                raise CommandError(
                    f"imcloud already runs on {data} (process {owner or 'unknown'})."
                ) from None
        time.sleep(POLL)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def raise_open_files() -> None:
    """Let this process and its children open as many files as the system allows, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def own_host(config: Config) -> str:
    """An address at which this machine reaches the gateway."""
    bind = ipaddress.ip_address(config.bind)
    if bind.is_unspecified:
        return "127.0.0.1" if bind.version == 4 else "::1"
    return str(bind)


def own_url(config: Config, port: int) -> str:
    host = own_host(config)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ready(config: Config, port: int) -> tuple[bool, str]:
    """Whether a gateway says that messages go the whole road in every SET; if not, why."""
    connection = http.client.HTTPConnection(own_host(config), port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        said = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return False, str(error)
    finally:
        connection.close()
    silent = [name for name, is_open in said.get("sets", {}).items() if not is_open]
    if silent:
        return False, f"nothing has come back yet from {', '.join(silent)}"
    return bool(said["ready"]), said.get("reason", "")
