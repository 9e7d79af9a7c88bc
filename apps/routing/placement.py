"""The union hash: where a resource's work and data belong. Pure functions.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; the logarithmic weights are Schindelhauer and
Schomaker's, 2005): each candidate's score depends on itself and the key alone, so that one that goes moves
only its own keys and one that comes takes only what becomes its own.

A key is hashed well, once. A candidate's draw from it is that hash times the candidate's own odd multiplier,
modulo 2^64 (Dietzfelbinger et al. 1997). Each draw alone is uniform; several together are points of a lattice
that is as fair as independent draws because the multipliers are random 64-bit numbers: a few of them have no
relation in small integers. A candidate so costs about a tenth of a hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from math import log

SLOTS = 1024
_LOW_64 = (1 << 64) - 1
_UNIT = 2.0**-64


def digest(*parts: str) -> int:
    """A 64-bit hash of the parts, the same in every process and version."""
    joined = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "big")


def slot(app_key: str, resource: str) -> int:
    """The bucket (0..1023) of a tenant's resource; a table maps buckets to SETs."""
    return digest("slot", app_key, resource) % SLOTS


def cluster(names: Iterable[str], app_key: str) -> str | None:
    """The cluster that a new tenant is pinned to; None when there is none."""
    return Candidates((name, 1.0) for name in names).best("cluster", app_key)


def ranked(candidates: Iterable[tuple[str, float]], *key: str) -> list[str]:
    """Names of the (name, weight) candidates, the best for this key first; weight 0 is left out."""
    return Candidates(candidates).ranked(*key)


@lru_cache(maxsize=4096)
def _multiplier(name: str) -> int:
    return digest("candidate", name) | 1


def _cost(draw: int, weight: float) -> float:
    """The lower the better. The highest of several uniform draws, each to the power of 1/weight, wins."""
    return -log((draw + 0.5) * _UNIT) / weight


class Candidates:
    """Candidates (name, weight), prepared once to be asked for many keys. Immutable; weight 0 is left out.

    Kept by weight: among equal weights the highest draw wins, and a logarithm is taken for that one only.
    """

    __slots__ = ("_classes", "_only")

    def __init__(self, candidates: Iterable[tuple[str, float]]) -> None:
        classes: dict[float, list[tuple[int, str]]] = {}
        for name, weight in sorted(candidates):
            if weight > 0:
                classes.setdefault(weight, []).append((_multiplier(name), name))
        self._classes = tuple(sorted(classes.items(), reverse=True))
        names = [name for members in classes.values() for _, name in members]
        self._only = names[0] if len(names) == 1 else None  # needs no hash

    def best(self, *key: str) -> str | None:
        """The first of `ranked`, without sorting; None when there is no candidate."""
        if self._only is not None:
            return self._only
        hashed = digest(*key)
        best, least = None, 0.0
        for weight, members in self._classes:
            highest, name = -1, ""
            for multiplier, member in members:
                draw = hashed * multiplier & _LOW_64
                if draw > highest:
                    highest, name = draw, member
            if len(self._classes) == 1:
                return name
            cost = _cost(highest, weight)
            if best is None or cost < least:
                best, least = name, cost
        return best

    def ranked(self, *key: str) -> list[str]:
        """All names, the best for this key first, its substitutes after it."""
        hashed = digest(*key)
        # As in `best`, draws that are too close for a float's logarithm are told apart among equal weights.
        scored = [
            (_cost(draw, weight), -weight, -draw, name)
            for weight, members in self._classes
            for draw, name in [(hashed * multiplier & _LOW_64, name) for multiplier, name in members]
        ]
        return [name for *_, name in sorted(scored)]
