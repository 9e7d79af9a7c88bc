"""The loads of bench/load.py and bench/group.py with clients of XMPP."""

from collections.abc import Sequence

from bench.group import Fanout
from bench.ledger import Verdict
from bench.load import Loops, sends_nothing
from bench.peers.peer import DOMAIN, PASSWORD, ROOMS
from bench.peers.xmpp import Answered, Client, Shown, numbered


def client(
    port: int,
    user: str,
    on_answer: Answered,
    on_shown: Shown,
    *,
    acknowledged: bool = False,
    room: str = "",
) -> Client:
    """A user's connection to the peer at the port."""
    where = ("127.0.0.1", port)
    return Client(where, DOMAIN, user, PASSWORD, on_answer, on_shown, acknowledged=acknowledged, room=room)


class Pairs(Loops):
    """Connected users in pairs, each of which sends to the partner."""

    def __init__(self, port: int, users: Sequence[str], *, acknowledged: bool):
        super().__init__(users, ["received"], None, numbered)
        for user, loop in self._loops.items():
            loop.client = client(port, user, loop.answered, self._shown_to(user), acknowledged=acknowledged)
            self.clients.append(loop.client)

    def _shown_to(self, receiver: str) -> Shown:
        ledger, loops = self.books["received"], self._loops

        def shown(sender: str, number: int) -> None:
            ledger.shown(sender, receiver, number, "", 0)
            if sender in loops:
                loops[sender].shown(number)

        return shown

    async def finish(self) -> Verdict:
        """As of Loops; ConnectionError when a connection was lost or a message refused."""
        check(self.clients)
        return await super().finish()


class Room(Fanout):
    """The occupants of one room, the first of which talks."""

    def __init__(self, port: int, users: Sequence[str], name: str):
        super().__init__(len(users))
        self._room = f"{name}@{ROOMS}"
        for place, user in enumerate(users):
            shown = self._shown_to(place) if place else nothing_shown  # the room shows the sender his own
            self.clients.append(client(port, user, sends_nothing, shown, room=self._room))

    def send(self, number: int) -> None:
        self.clients[0].send(self._room, numbered(number), number)

    def _shown_to(self, place: int) -> Shown:
        return lambda room, number: self.shown(place, number)


def nothing_shown(sender: str, number: int) -> None:
    """What a client is shown that nobody looks at."""


def check(clients: Sequence[Client]) -> None:
    """ConnectionError when one of them is of no use any more."""
    for each in clients:
        if each.failed:
            raise ConnectionError(each.failed)
