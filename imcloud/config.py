"""The environment variables of imcloud: one table of name, type, default and help.

Standard library only: it is read before anything else is imported. `python -m imcloud.config` prints the
table for docs/settings.md.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import os
import re
import tempfile
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from imcloud import sites

BASE_DIR = Path(__file__).resolve().parent.parent
PREFIX = "IMCLOUD_"
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
# The passwords are Redis' and the Sentinels'; either may be missing.
SENTINEL_FORM = "sentinel://:PASSWORD@HOST:PORT,HOST:PORT,HOST:PORT/DB?master=NAME&sentinel_password=PASSWORD"
SENTINEL_PORT = 26379  # where a Sentinel listens, unless its address says otherwise
SOCKET_PATH_MAX = 107  # bytes of sockaddr_un.sun_path on Linux without its closing zero, unix(7)


class ConfigError(Exception):
    """A setting is wrong; the text is one sentence for the operator."""


def number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    parse.__name__ = f"number {low} to {high}"
    return parse


def choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    parse.__name__ = ", ".join(names)
    return parse


def flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def text(text: str) -> str:
    return text


def names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def folder(text: str) -> Path:
    if not text:
        raise ValueError("must name a folder")
    return Path(text).expanduser().absolute()


def ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("must be an IP address") from None


def networks(text: str) -> tuple[IPNetwork, ...]:
    try:
        return tuple(ipaddress.ip_network(name) for name in names(text))
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8, separated by commas") from None


def time_zone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError("must be a time zone name such as Europe/Paris") from None
    return text


def address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text and not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("must be HOST:PORT")
    return text


def url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text and urlsplit(text).scheme not in schemes:
            raise ValueError(f"must be a URL that begins with {', '.join(s + '://' for s in schemes)}")
        return text

    parse.__name__ = "URL"
    return parse


class Sentinel(NamedTuple):
    """A Redis that Sentinels watch, as a URL names it."""

    nodes: tuple[tuple[str, int], ...]  # (host, port) of each Sentinel
    master: str  # what they call it
    password: str | None  # its own
    sentinel_password: str | None  # theirs
    database: int


def sentinel(text: str) -> Sentinel | None:
    """What a URL of SENTINEL_FORM names; None of one of another kind, ValueError of one that is wrong."""
    parts = urlsplit(text)
    if parts.scheme != "sentinel":
        return None
    wrong = f"must have the form {SENTINEL_FORM}"
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    query = dict(parse_qsl(parts.query))
    master, theirs = query.pop("master", ""), query.pop("sentinel_password", None)
    database = parts.path.strip("/") or "0"
    nodes = []
    for host in hosts.split(","):
        its = urlsplit(f"//{host}")
        try:
            nodes.append((its.hostname or "", its.port or SENTINEL_PORT))
        except ValueError:
            raise ValueError(wrong) from None
    if user or query or not master or not all(name for name, _ in nodes) or not database.isdigit():
        raise ValueError(wrong)
    return Sentinel(tuple(nodes), master, unquote(password) or None, theirs, int(database))


def redis_store(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        url(*schemes, "sentinel")(text)
        sentinel(text)
        return text

    parse.__name__ = "URL"
    return parse


def postgres(text: str) -> str:
    if text:
        url("postgresql", "postgres")(text)
        if not urlsplit(text).path.strip("/"):
            raise ValueError("must name a database, such as postgresql://user:password@host:5432/imcloud")
        check_hosts(text)
    return text


def check_hosts(database_url: str) -> None:
    """ValueError for ports that are none, and for several hosts of which any would do.

    libpq takes the first host that answers: a standby, which takes no writes, while the primary is away.
    """
    parts = urlsplit(database_url)
    places = parts.netloc.rpartition("@")[2].split(",")
    for place in places:
        port = re.fullmatch(r"(?:\[[^]]*\]|[^:]*)(?::([0-9]*))?", place)
        if port is None or int(port[1] or 1) not in range(1, 65536):
            raise ValueError("must have a port from 1 to 65535 behind each host")
    query = dict(parse_qsl(parts.query))
    several = len(places) > 1 or "," in query.get("host", "")
    if several and query.get("target_session_attrs") not in ("read-write", "primary"):
        raise ValueError("must end with ?target_session_attrs=read-write when it names several hosts")


def postgres_of_each(text: str) -> str:
    postgres(text.replace("{set}", "set1"))
    if text and ("{set}" not in text or "{" in text.replace("{set}", "")):
        raise ValueError("must have {set} where the SET's name belongs, and no other braces")
    return text


def bucket(text: str) -> str:
    if "{" in text.replace("{tenant}", "") or not re.fullmatch(
        r"[a-z0-9.-]{3,63}", text.replace("{tenant}", "1")
    ):
        raise ValueError(
            "must be 3 to 63 small letters, digits, dots or hyphens, with {tenant} in it at will"
        )
    return text


def option(parse: Callable[[str], Any], default: str, help: str, shown: str = "") -> Any:
    """A field of Config. `shown` replaces the default in the documentation when it is computed."""
    return field(default=parse(default), metadata={"parse": parse, "help": help, "shown": shown or default})


@dataclass(frozen=True)
class Config:
    """Every setting; the variable's name is IMCLOUD_ and the field's name in capitals."""

    port: int = option(number(1, 65535), "8000", "The TCP port of the web pages, the APIs and the sockets.")
    bind: str = option(
        ip_address, "127.0.0.1", "The address to listen on; 0.0.0.0 for every IPv4 address, :: for IPv6."
    )
    data: Path = option(
        folder,
        str(BASE_DIR / "var"),
        "The folder of everything that is kept: databases, secrets, logs.",
        "var beside manage.py",
    )
    database_url: str = option(
        postgres,
        "",
        "The control database, postgresql://USER:PASSWORD@HOST:PORT/NAME, with a standby "
        "HOST:PORT,HOST:PORT/NAME?target_session_attrs=read-write; empty: the embedded server.",
    )
    set_database_url: str = option(
        postgres_of_each,
        "",
        "The databases of the SETs, their logs, with {set} for the SET's name. They must exist. A SET's "
        "record may name another one.",
        "IMCLOUD_DATABASE_URL with _{set} appended to the database's name",
    )
    redis_url: str = option(
        redis_store("redis", "rediss", "unix"),
        "",
        "Presence, ledgers and channel layer: redis://HOST:PORT/DB, or the master that Sentinels name, "
        f"{SENTINEL_FORM}; empty: the embedded server.",
    )
    broker_url: str = option(
        redis_store("redis", "rediss", "redis+socket", "amqp", "amqps"),
        "",
        "Celery's broker, in kombu's notation, or with Sentinels as above.",
        "IMCLOUD_REDIS_URL with the next database number",
    )
    secret_key: str = option(
        text, "", "Signs the sessions of the admin pages.", "made once in the file secret_key of IMCLOUD_DATA"
    )
    metrics_token: str = option(
        text,
        "",
        "The bearer token that /metrics asks for.",
        "made once in the file metrics-token of IMCLOUD_DATA",
    )
    debug: bool = option(flag, "0", "1 shows tracebacks to anyone: for development only.")
    log_level: str = option(
        choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO", "Records below this level are not logged."
    )
    process: str = option(
        text, "", "The name of this process in its log lines.", "the words of its command line"
    )
    public_address: str = option(
        address,
        "",
        "HOST:PORT that navigation hands out to clients.",
        "the Host of the navigation request",
    )
    proxies: tuple[IPNetwork, ...] = option(
        networks,
        "",
        "Networks of your proxies, whose X-Forwarded-For is believed when navigation looks for gateways near "
        "the client; separated by commas.",
    )
    sets: int = option(
        number(1, 16),
        "2",
        "How many SETs `manage.py run` makes at its very first start; `manage.py sets add` adds others.",
    )
    nodes: int = option(
        number(1, 16), "2", "How many nodes each of these SETs gets; of two sites, one at each at least."
    )
    gateways: int = option(
        number(1, 16),
        "1",
        "How many gateways `manage.py run` starts, on IMCLOUD_PORT and the ports after it; with two sites, "
        "at each of them.",
    )
    sites: int = option(
        number(1, 2),
        "1",
        "2 has `manage.py run` make two sites on this machine, each with a PostgreSQL server and a Redis of "
        "its own: see operations.md. Only with embedded servers, and from the very first start on.",
    )
    access_point: str = option(
        text,
        "",
        "The name of the access point that a gateway is at.",
        "the first one; `manage.py run` names each gateway its own",
    )
    message_rate: int = option(
        number(0, 100_000),
        "0",
        "Messages a second that one client connection may send, those without acknowledgement too; what is "
        "past it is refused as too fast (20604). 0: no limit.",
    )
    message_burst: int = option(
        number(1, 100_000), "100", "Messages that it may send at once, if there is a limit."
    )
    query_rate: int = option(
        number(0, 100_000),
        "0",
        "Queries a second that one client connection may ask, pulls not counted; what is past it is refused "
        "as too frequent (20607). 0: no limit.",
    )
    query_burst: int = option(
        number(1, 100_000),
        "100",
        "Queries that it may ask at once, if there is a limit. SDKs ask about ten as they connect.",
    )
    signature_window: int = option(
        number(0, 86_400),
        "0",
        "Seconds that the Timestamp of a call of the server API may be away from this machine's clock. 0: "
        "any moment is taken, as some SDKs sign once and repeat that for as long as they run.",
    )
    signature_once: bool = option(
        flag,
        "0",
        "1 refuses a call of the server API whose signature was seen before, in the last ten minutes or in "
        "twice IMCLOUD_SIGNATURE_WINDOW if that is set; SDKs that repeat their signature cannot call then.",
    )
    time_zone: str = option(time_zone, "UTC", "The time zone of the admin pages.")
    allowed_hosts: tuple[str, ...] = option(
        names, "*", "The Host names that are answered, separated by commas; * for all."
    )
    trusted_origins: tuple[str, ...] = option(
        names,
        "",
        "Origins whose forms are accepted besides the request's own, such as https://im.example.com behind "
        "a proxy that ends TLS; separated by commas.",
    )

    storage_url: str = option(
        url("http", "https"),
        "",
        "The S3-compatible store of clients' files, as clients reach it, such as https://files.example.com; "
        "empty: none.",
    )
    storage_kind: str = option(
        choice("minio", "s3"),
        "minio",
        "minio: buckets are in the path, uploads are signed PUTs; s3: buckets are in the host name, uploads "
        "are signed forms.",
    )
    storage_bucket: str = option(
        bucket,
        "imcloud-{tenant}",
        "The bucket of a tenant, with {tenant} for its number: clients choose names of their own in it. It "
        "must exist.",
    )
    storage_region: str = option(text, "us-east-1", "The store's region.")
    storage_key: str = option(text, "", "The store's access key.")
    storage_secret: str = option(text, "", "The store's secret key.")
    storage_lifetime: int = option(
        number(60, 604_800), "3600", "Seconds for which a signed upload or download may be begun."
    )
    storage_size: int = option(
        number(1, 5 << 30), "104857600", "Bytes that an uploaded file may have at most."
    )

    webhook_private: bool = option(
        flag,
        "0",
        "1 lets webhooks be sent to private, loopback and link-local addresses too: whoever may set a "
        "tenant's webhooks then reaches what is inside of your network.",
    )
    webhook_kept: int = option(
        number(1, 365), "7", "Days for which the log of webhook deliveries, dead letters too, is kept."
    )
    webhook_ca: str = option(
        text, "", "A file with the certificates of authorities that webhooks trust.", "the system's"
    )

    @property
    def upload_target(self) -> str:
        """What SDKs read of it in navigation: JSON, empty without a store."""
        if not self.storage_url:
            return ""
        # To a bucket's name in front of it they put the page's scheme.
        where = urlsplit(self.storage_url).netloc if self.storage_kind == "s3" else self.storage_url
        return json.dumps([{self.storage_kind: where.rstrip("/"), "p": "1"}], separators=(",", ":"))

    @property
    def socket_dir(self) -> Path:
        """Where the embedded servers' sockets are: in the data folder, unless their paths get too long."""
        inside = self.data / "run"
        longest = inside / sites.POSTGRES[0] / ".s.PGSQL.5432.lock"
        if len(os.fsencode(longest)) <= SOCKET_PATH_MAX:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"imcloud-{os.getuid()}-{digest}"

    @property
    def control_database(self) -> str:
        """The URL of the control database, the embedded server's when none is set."""
        return self.database_url or self.embedded_database("postgres", "imcloud")

    def embedded_database(self, server: str, name: str) -> str:
        """The URL of a database in one of the embedded servers."""
        return f"postgresql://imcloud@/{name}?host={self.socket_dir / server}"

    def site_database(self, site: str, server_set: str) -> str:
        """The URL of the database that a SET has at one of two sites."""
        return self.embedded_database(f"postgres-{site}", f"imcloud_{server_set}")

    @property
    def set_databases(self) -> str:
        """The URL of the SETs' databases, with {set} for the SET's name."""
        if self.set_database_url:
            return self.set_database_url
        parts = urlsplit(self.control_database)
        return joined(parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}_{{set}}", parts.query)

    @property
    def redis(self) -> str:
        """The URL of the Redis that holds state, the embedded server's when none is set.

        That of two sites is found by the data folder: every command finds it, whatever `sites` says.
        """
        if self.redis_url:
            return self.redis_url
        both = sites.of(self.data)
        return both.redis_url if both else f"unix://{self.socket_dir / 'redis.sock'}?db=0"

    @property
    def broker(self) -> str:
        """The URL of Celery's broker; with Sentinels in the form of IMCLOUD_REDIS_URL."""
        if self.broker_url:
            return self.broker_url
        parts = urlsplit(self.redis)
        query = dict(parse_qsl(parts.query))
        if parts.scheme == "sentinel":
            database = int(parts.path.strip("/") or "0") + 1
            return joined(parts.scheme, parts.netloc, f"/{database}", parts.query)
        if parts.scheme == "unix":
            query["virtual_host"] = str(int(query.pop("db", "0")) + 1)
            return joined("redis+socket", parts.netloc, parts.path, urlencode(query))
        database = int(query.pop("db", "") or parts.path.strip("/") or "0") + 1
        return joined(parts.scheme, parts.netloc, f"/{database}", urlencode(query))


def joined(scheme: str, netloc: str, path: str, query: str) -> str:
    """A URL. SplitResult.geturl() would drop the // of one without a host."""
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")


def kombu_url(broker: str) -> str:
    """The URL of a broker in kombu's notation, which has one for each Sentinel."""
    if (its := sentinel(broker)) is None:
        return broker
    login = f":{quote(its.password, safe='')}@" if its.password else ""
    hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in its.nodes)
    return ";".join(f"sentinel://{login}{host}/{its.database}" for host in hosts)


def database_name(database_url: str) -> str:
    return unquote(urlsplit(database_url).path.strip("/"))


def variable(name: str) -> str:
    return PREFIX + name.upper()


def read(environ: Mapping[str, str]) -> Config:
    """The configuration that the environment asks for; an empty variable is as good as none.

    Raises ConfigError for a name that is not in the table and for a value that is not of its type.
    """
    known = {variable(f.name): f for f in fields(Config)}
    values = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX):
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise ConfigError(f"{name} is not a setting; did you mean {near}?")
        if not value:
            continue
        try:
            values[known[name].name] = known[name].metadata["parse"](value)
        except ValueError as error:
            raise ConfigError(f"{name} {error}, not {value!r}.") from None
    if values.get("sites") == 2:
        for name in ("database_url", "set_database_url", "redis_url"):
            if name in values:
                raise ConfigError(
                    f"{variable('sites')} is for the embedded servers: with {variable(name)} the sites are "
                    "those of your own servers; unset one of the two."
                )
    return Config(**values)


def table() -> str:
    """The Markdown table of docs/settings.md."""
    lines = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    for f in fields(Config):
        kind = (
            f.metadata["parse"]
            .__name__.replace("_", " ")
            .replace("postgres of each", "URL")
            .replace("postgres", "URL")
        )
        lines.append(
            f"| `{variable(f.name)}` | {kind} | {f.metadata['shown'] or '(empty)'} | {f.metadata['help']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
