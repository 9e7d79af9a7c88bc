"""Two sites on one machine, for trying out what is meant for two data centres. Standard library only.

At each site: a PostgreSQL server, a Redis, a Sentinel, gateways, a node of each SET, a beat. At neither, as
the third party that decides between them: the control database, and one more Sentinel.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

NAMES = ("a", "b")
FILE = "sites.json"  # in IMCLOUD_DATA: what two sites were made with; none of one site
MASTER = "imcloud"  # what the Sentinels call their Redis
# The one at neither site comes first: clients ask it first, and it cannot have missed a failover. One that
# comes back with its site goes on with what it last knew, until the others tell it.
SENTINELS = ("sentinel", *(f"sentinel-{site}" for site in NAMES))
REDIS = tuple(f"redis-{site}" for site in NAMES)
POSTGRES = tuple(f"postgres-{site}" for site in NAMES)
PORTS = range(20_000, 32_000)  # below those that systems give to outgoing connections
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Sites:
    """What the servers of two sites are reached with."""

    password: str  # of both Redis and all Sentinels: their ports are open to every user of this machine
    ports: dict[str, int]  # server -> TCP port

    @property
    def redis_url(self) -> str:
        """The Redis that is the master now, as IMCLOUD_REDIS_URL would name it."""
        sentinels = ",".join(f"{HOST}:{self.ports[name]}" for name in SENTINELS)
        return f"sentinel://:{self.password}@{sentinels}/0?master={MASTER}&sentinel_password={self.password}"

    def url(self, server: str) -> str:
        """One Redis or Sentinel, whatever part it plays."""
        return f"redis://:{self.password}@{HOST}:{self.ports[server]}"


def of(data: Path) -> Sites | None:
    """The two sites that the data folder holds; None when it holds one, or nothing yet."""
    try:
        return Sites(**json.loads((data / FILE).read_text()))
    except FileNotFoundError:
        return None


def have(data: Path) -> None:
    """Make a data folder of two sites, once; one that holds one site already is left as it is.

    Of several processes that come at one moment the first wins.
    """
    if (data / FILE).exists() or (data / "postgres").exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    servers = (*REDIS, *SENTINELS)
    made = Sites(secrets.token_urlsafe(32), dict(zip(servers, _free_ports(len(servers)), strict=True)))
    own = data / f"{FILE}.{os.getpid()}"
    with open(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as new:
        json.dump({"password": made.password, "ports": made.ports}, new, indent=1)
    try:
        os.link(own, data / FILE)
    except FileExistsError:
        pass
    finally:
        own.unlink()


def _free_ports(number: int) -> list[int]:
    """So many that nobody listens on now."""
    free: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        free.append(port)
        if len(free) == number:
            break
    return free


def in_turn(number: int) -> list[str]:
    """The sites of so many gateways, of so many nodes of a SET, of the primary databases of so many SETs."""
    return list(islice(cycle(NAMES), number))


def other(site: str) -> str:
    return NAMES[1 - NAMES.index(site)]


def stopped(data: Path, site: str) -> Path:
    """The file that has `manage.py run` keep the site's processes dead for as long as it is there."""
    return data / f"site-{site}.stopped"
