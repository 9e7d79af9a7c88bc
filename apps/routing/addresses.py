"""Addresses of access points and networks of clients: their forms, and which network a client is in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ADDRESS_FORM = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):([0-9]{1,5})")
_MAPPED = IPv6Network(
    "::ffff:0:0/96"
)  # IPv4 in IPv6 (RFC 4291 2.5.5.2): what a socket on :: calls IPv4 clients


def check_address(text: str) -> None:
    """ValueError unless it is host:port, [IPv6]:port, :port or empty."""
    form = _ADDRESS_FORM.fullmatch(text)
    if text and not (form and 0 < int(form[1]) < 65536):
        raise ValueError(f"{text} is not an address; it must be HOST:PORT, [IPv6]:PORT, :PORT or empty")


def completed(address: str, host: str) -> str:
    """An access point's address as a client needs it; `host` is what the client itself asked at.

    Empty stands for that host with its port, ":port" for that host with another port.
    """
    if not address.startswith(":"):
        return address or host
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name + address


def network(text: str) -> Network:
    """The network that a CIDR text names; ValueError with a sentence when it names none exactly.

    IPv4 written as IPv6 becomes IPv4, so that one network has one form.
    """
    try:
        found = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text} is not a network; it must be like 192.0.2.0/24 or 2001:db8::/32") from None
    if "/" in text and ip_address(text.partition("/")[0].strip()) != found.network_address:
        raise ValueError(f"{text} has bits beyond its prefix; the network is {found}")
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        low = int(found.network_address) & 0xFFFFFFFF
        return IPv4Network((low, found.prefixlen - _MAPPED.prefixlen))
    return found


def client_address(text: str) -> Address | None:
    """A client's address, IPv4 out of its IPv6 wrapping; None for what is no address (a Unix socket)."""
    try:
        found = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client is. Empty: not known, and nothing is far from it."""

    region: str = ""
    site: str = ""


NOWHERE = Place()


class Networks:
    """Which place an address is at: the network with the longest prefix that holds it. Immutable."""

    def __init__(self, places: Iterable[tuple[Network, Place]] = ()) -> None:
        # A table a prefix length, asked from the longest on: at most 129 look-ups, however many networks.
        tables: dict[tuple[int, int], dict[int, Place]] = {}
        for each, place in places:
            shift = each.max_prefixlen - each.prefixlen
            tables.setdefault((each.version, shift), {})[int(each.network_address) >> shift] = place
        self._tables: Mapping[int, list[tuple[int, dict[int, Place]]]] = {
            version: sorted(
                ((shift, table) for (of, shift), table in tables.items() if of == version),
                key=lambda each: each[0],
            )
            for version in (4, 6)
        }

    def place(self, address: Address | None) -> Place:
        """NOWHERE when no network holds it."""
        if address is not None:
            number = int(address)
            for shift, table in self._tables[address.version]:
                if (found := table.get(number >> shift)) is not None:
                    return found
        return NOWHERE


def behind(peer: str, forwarded: str, proxies: Iterable[Network]) -> str:
    """Who asks: the peer, or if it is one of our proxies whom its X-Forwarded-For names.

    Read from its end, where our own proxies wrote; what a client itself put in front of it is not believed.
    """
    trusted = tuple(proxies)
    chain = [*(part.strip() for part in forwarded.split(",") if part.strip()), peer]
    while len(chain) > 1 and _within(chain[-1], trusted):
        chain.pop()
    return chain[-1]


def _within(text: str, networks: Iterable[Network]) -> bool:
    address = client_address(text)
    return address is not None and any(
        address in each for each in networks if each.version == address.version
    )
