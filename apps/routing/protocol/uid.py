"""Message UIds: `F42V-CLQP-JEY7-UDEW`, 80 bits in 16 letters, sorted by time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from apps.routing.protocol.kinds import ProtocolError

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # 32 letters of 5 bits; none looks like another
COUNTER_BITS, TYPE_BITS, NUMBER_BITS = 12, 4, 22  # after 42 bits of milliseconds
NUMBER_MAX = (1 << NUMBER_BITS) - 1

_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]  # 10 bits each
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}


class Uid(NamedTuple):
    """The parts of a UId, most significant first."""

    time: int  # epoch ms
    counter: int  # within that ms
    conversation_type: int
    number: int  # of the process that issued it


class UidIssuer:
    """Issues the UIds of one process; for one thread.

    The log tells a repeated message from a new one by its UId, so no two processes may ever issue the same.
    Hence the last 22 bits are the process's own number and not, as elsewhere, a hash of the conversation:
    with a hash, two gateways would collide in the same millisecond of the same conversation. `process_number`
    must be leased to one process at a time, and not again until every clock is past its last use.

    Within the process, the time and counter only rise: a counter that is full borrows the next millisecond,
    and while the clock stands or goes back, counting goes on from the newest time ever used.
    """

    def __init__(self, process_number: int, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock` gives epoch nanoseconds. Raises ValueError for a number of more than 22 bits."""
        if not 0 <= process_number <= NUMBER_MAX:
            raise ValueError(f"process number {process_number} is not within 0..{NUMBER_MAX}")
        self._clock = clock
        self._newest = -1  # milliseconds and counter in one number
        self._number_high = process_number >> 20
        tail = process_number & 0xFFFFF
        self._tail = f"-{_PAIRS[tail >> 10]}{_PAIRS[tail & 1023]}"

    def next(self, conversation_type: int, now_ms: int | None = None) -> str:
        """A UId that was never issued before; `conversation_type` 0..15, `now_ms` epoch milliseconds."""
        if now_ms is None:
            now_ms = self._clock() // 1_000_000
        stamp = max(now_ms << COUNTER_BITS, self._newest + 1)
        self._newest = stamp
        bits = (stamp << TYPE_BITS | conversation_type & 15) << 2 | self._number_high
        pairs = _PAIRS
        return (
            f"{pairs[bits >> 50]}{pairs[bits >> 40 & 1023]}-{pairs[bits >> 30 & 1023]}"
            f"{pairs[bits >> 20 & 1023]}-{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}{self._tail}"
        )


def decode(uid: str) -> Uid:
    """The parts of a UId. Raises ProtocolError for other text."""
    groups = uid.split("-")
    if [len(group) for group in groups] != [4, 4, 4, 4]:
        raise ProtocolError("a message UId has four groups of four letters")
    bits = 0
    try:
        for letter in "".join(groups):
            bits = bits << 5 | _VALUES[letter]
    except KeyError:
        raise ProtocolError("a message UId with a letter outside the alphabet") from None
    return Uid(bits >> 38, bits >> 26 & 0xFFF, bits >> 22 & 0xF, bits & NUMBER_MAX)
