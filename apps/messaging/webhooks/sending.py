"""One signed POST to a tenant's server. Where it goes is the tenant's choice, so it is looked at first.

A name is resolved once; the address that was looked at is the one that is connected to, whatever the name
says a moment later. No redirect is followed, no proxy of the environment asked, and of the answer no more is
read than is worth anything. A call takes no longer than its time, however slowly the receiver talks.
"""

from __future__ import annotations

import functools
import ipaddress
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import urllib3
from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection

from apps.accounts.directory import TenantEntry
from apps.accounts.signatures import sign

TIMEOUT = 5.0  # s of a call
CONNECT_TIMEOUT = 3.0  # s of that; an address that swallows packets answers never
ANSWER_MAX = 256 << 10  # bytes of an answer that are read: a message of 128 KiB, escaped
RESOLVED_FOR = 10.0  # s that a name's addresses are remembered
NAMES_MAX = 4096  # names remembered
POOLS_MAX = 256  # receivers to which connections are kept
CONNECTIONS_KEPT = 32  # to one receiver: what dispatcher and judge need at most
FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = "application/json; charset=utf-8"
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotAllowed(Exception):
    """It is not sent to there. The text is one sentence for the tenant."""


class Outcome(NamedTuple):
    """What became of a call. `status` 0: there was no answer; `note` says why."""

    status: int
    note: str
    body: bytes = b""


# --- where it may go


class Target(NamedTuple):
    """A URL in parts."""

    scheme: str
    host: str
    port: int
    path: str  # with its query

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@functools.lru_cache(maxsize=1024)
def target(url: str) -> Target:
    """The parts of a receiver's URL. Raises NotAllowed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotAllowed("It is not a URL.") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise NotAllowed("It must begin with http:// or https:// and a host.")
    if parts.username is not None or parts.fragment:
        raise NotAllowed("It must have no user name and no fragment.")
    if not url.isascii() or any(not 0x20 < ord(each) < 0x7F for each in url):
        raise NotAllowed("It must be of printable ASCII characters.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def is_public(address: str) -> bool:
    """Whether it is an address of the public Internet, whatever other address it wraps."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def address_of(host: str, port: int) -> str:
    """An address of the host that may be sent to. Raises NotAllowed, and OSError when there is none."""
    found = _resolved(host, port)
    allowed = found if settings.WEBHOOK_PRIVATE else [each for each in found if is_public(each)]
    if not allowed:
        raise NotAllowed(f"{host} has no public address: {', '.join(found)}.")
    return allowed[0]


_names: dict[tuple[str, int], tuple[float, list[str]]] = {}


def _resolved(host: str, port: int) -> list[str]:
    now = time.monotonic()
    until, found = _names.get((host, port), (0.0, []))
    if now >= until:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError(f"not a host name: {error}") from None
        found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        if len(_names) >= NAMES_MAX:
            _names.clear()
        _names[host, port] = (now + RESOLVED_FOR, found)
    return found


# --- signed


def signed(path: str, tenant: TenantEntry) -> str:
    """The path with the parameters by which the receiver knows who calls (SERVER_API 6.1)."""
    nonce, now = secrets.token_hex(9), str(time.time_ns() // 1_000_000)
    signature = sign(tenant.app_secret, nonce, now)
    parameters = {"appKey": tenant.app_key, "nonce": nonce, "signTimestamp": now, "timestamp": now}
    return path + ("&" if "?" in path else "?") + urlencode({**parameters, "signature": signature})


# --- sent

# Of each thread that is calling: until when (monotonic s), and by which connection.
_calls: dict[int, tuple[float, Any]] = {}


class _Watched:
    """A connection that `cut` can find."""

    def request(self, *args: Any, **kwargs: Any) -> None:
        thread = threading.get_ident()
        if thread in _calls:
            _calls[thread] = (_calls[thread][0], self)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _Http(_Watched, HTTPConnection):
    pass


class _Https(_Watched, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


@functools.lru_cache(maxsize=POOLS_MAX)
def _pool(scheme: str, host: str, port: int, address: str) -> urllib3.HTTPConnectionPool:
    if scheme == "http":
        return _HttpPool(address, port, maxsize=CONNECTIONS_KEPT)
    # The certificate is the name's, though the address is what is connected to.
    return _HttpsPool(
        address,
        port,
        maxsize=CONNECTIONS_KEPT,
        server_hostname=host,
        assert_hostname=host,
        ssl_context=ssl.create_default_context(cafile=settings.WEBHOOK_CA or None),
    )


def cut() -> None:
    """Break off the calls whose time is over: a timeout of a socket begins anew with every byte."""
    now = time.monotonic()
    for until, connection in list(_calls.values()):
        sock = getattr(connection, "sock", None)
        if now > until and sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed


def post(
    url: str,
    body: bytes,
    content_type: str,
    tenant: TenantEntry,
    ids: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> Outcome:
    """Send it, once. Never raises; waits for `timeout` s at most if somebody calls `cut` now and then."""
    began = time.monotonic()
    thread = threading.get_ident()
    _calls[thread] = (began + timeout, None)
    try:
        status, answer = _post(url, body, content_type, tenant, ids, timeout)
        note = f"HTTP {status}"
        if time.monotonic() > _calls[thread][0]:  # what was cut off looks like an end
            status, answer, note = 0, b"", "timeout"
    except NotAllowed as error:
        status, answer, note = 0, b"", f"not allowed: {error}"
    except Exception as error:
        late = time.monotonic() - began > timeout - 0.05
        reason = "timeout" if late or isinstance(error, urllib3.exceptions.TimeoutError) else _reason(error)
        status, answer, note = 0, b"", reason
    finally:
        del _calls[thread]
    return Outcome(status, f"{note}, {(time.monotonic() - began) * 1000:.0f} ms", answer)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _post(
    url: str, body: bytes, content_type: str, tenant: TenantEntry, ids: Sequence[str], timeout: float
) -> tuple[int, bytes]:
    to = target(url)
    pool = _pool(to.scheme, to.host, to.port, address_of(to.host, to.port))
    headers = {"Host": to.authority, "Content-Type": content_type, "User-Agent": "imcloud"}
    if ids:
        headers["X-Delivery-Id"] = ",".join(ids)
    response = pool.urlopen(
        "POST",
        signed(to.path, tenant),
        body=body,
        headers=headers,
        retries=False,
        redirect=False,
        preload_content=False,
        decode_content=False,
        timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, timeout), read=timeout),
    )
    try:
        answer = response.read(ANSWER_MAX + 1, decode_content=False)
    except BaseException:
        response.close()
        raise
    if len(answer) > ANSWER_MAX:
        response.close()  # the rest would have to be read before the connection is of use again
    else:
        response.release_conn()
    return int(response.status), answer[:ANSWER_MAX]
