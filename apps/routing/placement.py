"""The union hash: where a resource's work and data belong. Pure functions.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; the logarithmic weights are Schindelhauer and
Schomaker's, 2005): each candidate's score depends on itself and the key alone, so that one that goes moves
only its own keys and one that comes takes only what becomes its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import log

SLOTS = 1024
_SPACE = float(1 << 64)


def digest(*parts: str) -> int:
    """A 64-bit hash of the parts, the same in every process and version."""
    joined = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "big")


def slot(app_key: str, resource: str) -> int:
    """The bucket (0..1023) of a tenant's resource; a table maps buckets to SETs."""
    return digest("slot", app_key, resource) % SLOTS


def ranked(candidates: Iterable[tuple[str, float]], *key: str) -> list[str]:
    """Names of the (name, weight) candidates, the best for this key first; weight 0 is left out."""
    scored = [
        (-log((digest(name, *key) + 0.5) / _SPACE) / weight, name)
        for name, weight in candidates
        if weight > 0
    ]
    return [name for _, name in sorted(scored)]
