"""The clients of other servers that imcloud is measured beside: what they read, count and wait for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load import connect, disconnect
from bench.peers import database
from bench.peers.__main__ import PEERS, ratios, table
from bench.peers.load import Pairs, Room
from bench.peers.peer import Peer, versions
from bench.peers.xmpp import Client, numbered, split

SECONDS = 5.0
HEADER = b"<?xml version='1.0'?><stream:stream id='1' version='1.0' xmlns='jabber:client'>"
MECHANISMS = b"<stream:features><mechanisms><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
FEATURES = b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"

texts = st.text(st.characters(min_codepoint=32, exclude_characters="<>&'\"", codec="utf-8"), max_size=8)
names = st.sampled_from(["message", "presence", "iq", "a", "r", "body", "messages", "stream:features"])
attributes = st.dictionaries(st.sampled_from(["from", "to", "h", "xml:lang"]), texts, max_size=2)


def element(name: str, its: dict[str, str], inside: str | None) -> str:
    words = name + "".join(f" {key}='{value}'" for key, value in its.items())
    return f"<{words}/>" if inside is None else f"<{words}>{inside}</{name}>"


inner = st.recursive(
    texts, lambda below: st.builds(element, names, attributes, st.lists(below, max_size=3).map("".join))
)
stanzas = st.builds(element, names, attributes, st.none() | st.lists(inner, max_size=3).map("".join))


@given(st.lists(stanzas, max_size=5), st.sampled_from(["", "\n", " "]), st.data())
def test_a_stream_that_is_cut_anywhere_gives_its_stanzas(
    sent: list[str], between: str, data: st.DataObject
) -> None:
    stream = HEADER + "".join(each + between for each in sent).encode()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    found: list[bytes] = []
    rest = b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        more, rest = split(rest + stream[start:end])
        found += more
    head = HEADER.index(b"?>") + 2
    assert found == [HEADER[:head], HEADER[head:], *(each.encode() for each in sent)]
    assert rest.strip() == b""


def test_what_is_no_xml_is_refused() -> None:
    with pytest.raises(ValueError, match="no XML"):
        split(b"<>")


class ScriptedServer:
    """The server's end of a connection, which has everybody log in; the test says what it answers then."""

    def __init__(self) -> None:
        self.stanzas: asyncio.Queue[bytes] = asyncio.Queue()
        self.logins: list[bytes] = []
        self.address = ("127.0.0.1", 0)
        self._writer: asyncio.StreamWriter
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, *self.address)
        self.address = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        rest, authenticated = b"", False
        while data := await reader.read(65536):
            found, rest = split(rest + data)
            for stanza in found:
                if stanza.startswith(b"<stream:stream"):
                    self.send(HEADER + (FEATURES if authenticated else MECHANISMS))
                elif stanza.startswith(b"<auth"):
                    authenticated = True
                    self.logins.append(stanza)
                    self.send(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
                elif stanza.startswith(b"<iq"):
                    self.send(b"<iq type='result' id='bind'/>")
                else:
                    self.stanzas.put_nowait(stanza)
        writer.close()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        """End the connection, not the server."""
        self._writer.close()

    async def next(self) -> bytes:
        """What the client sent next after it had logged in."""
        async with asyncio.timeout(SECONDS):
            return await self.stanzas.get()


class Bob(Client):
    """The client under test; what its user saw and heard."""

    def __init__(self, server: ScriptedServer, **kind: Any):
        self.seen: list[tuple[str, int]] = []
        self.heard: list[Any] = []
        super().__init__(
            server.address,
            "localhost",
            "bob",
            "secret",
            lambda context, *_: self.heard.append(context),
            lambda sender, number: self.seen.append((sender, number)),
            **kind,
        )

    async def until_ready(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self.ready.wait()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


async def present(server: ScriptedServer, bob: Bob) -> None:
    """The client logs in, and the server shows it its own presence."""
    bob.start()
    assert await server.next() == b"<presence/>"
    assert not bob.online
    server.send(b"<presence from='bob@localhost/bench' to='bob@localhost/bench'/>")


async def acknowledged(server: ScriptedServer) -> Bob:
    bob = Bob(server, acknowledged=True)
    await present(server, bob)
    assert (await server.next()).startswith(b"<enable ")
    server.send(b"<enabled xmlns='urn:xmpp:sm:3'/>")
    await bob.until_ready()
    return bob


async def settled(server: ScriptedServer) -> bytes:
    """The client has read all: it answers how many stanzas it has."""
    server.send(b"<r xmlns='urn:xmpp:sm:3'/>")
    return await server.next()


async def test_a_message_is_acknowledged_when_the_server_has_counted_it(server: ScriptedServer) -> None:
    bob = await acknowledged(server)
    for context in range(3):
        assert bob.send("alice", numbered(context), context)
        message = await server.next()
        assert message.startswith(b"<message to='alice@localhost' type='chat'><body>000000000%d" % context)
        assert (await server.next()).startswith(b"<r ")
    server.send(b"<a xmlns='urn:xmpp:sm:3' h='2'/>")
    await settled(server)
    assert bob.heard == [0, 1]
    server.send(b"<a xmlns='urn:xmpp:sm:3' h='3'/>")
    await settled(server)
    assert bob.heard == [0, 1, 2]
    await bob.stop()


async def test_the_server_is_told_how_many_stanzas_came_since_stream_management_began(
    server: ScriptedServer,
) -> None:
    bob = await acknowledged(server)
    assert b"h='0'" in await settled(server)
    server.send(
        b"<message from='alice@localhost/x' type='chat'>" + numbered(7) + b"<presence/><iq type='get'/>"
    )
    assert b"h='3'" in await settled(server)
    assert bob.seen == [("alice", 7)]
    await bob.stop()


async def test_without_acknowledgements_a_message_is_answered_at_once(server: ScriptedServer) -> None:
    bob = Bob(server)
    await present(server, bob)
    await bob.until_ready()
    assert server.logins == [
        b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGJvYgBzZWNyZXQ=</auth>"
    ]
    bob.send("alice", numbered(1), "context")
    assert bob.heard == ["context"]
    assert await server.next() == b"<message to='alice@localhost' type='chat'>" + numbered(1)
    await bob.stop()


async def test_an_error_is_no_message_and_is_told(server: ScriptedServer) -> None:
    bob = await acknowledged(server)
    server.send(b"<message from='alice@localhost' type='error'>" + numbered(1))
    await settled(server)
    assert bob.seen == []
    assert "type='error'" in bob.failed
    await bob.stop()


async def test_a_lost_connection_is_told_and_a_closed_one_is_not(server: ScriptedServer) -> None:
    bob = await acknowledged(server)
    server.close()
    for _ in range(int(SECONDS / 0.01)):
        if not bob.online:
            break
        await asyncio.sleep(0.01)
    assert "was lost" in bob.failed
    assert not bob.send("alice", numbered(1), 1)
    other = await acknowledged(server)
    await other.stop()
    await asyncio.sleep(0)
    assert other.failed == ""


async def test_in_a_room_only_the_own_nick_tells_that_the_client_is_in(server: ScriptedServer) -> None:
    bob = Bob(server, room="room@conference.localhost")
    await present(server, bob)
    assert (await server.next()).startswith(b"<presence to='room@conference.localhost/bob'>")
    server.send(b"<presence from='room@conference.localhost/bobby' to='bob@localhost/bench'/>")
    await settled(server)
    assert not bob.ready.is_set()
    server.send(b"<presence from='room@conference.localhost/bob' to='bob@localhost/bench'/>")
    await bob.until_ready()
    bob.send("room@conference.localhost", numbered(4), 4)
    assert (await server.next()).startswith(b"<message to='room@conference.localhost' type='groupchat'>")
    server.send(b"<message from='room@conference.localhost/alice' type='groupchat'>" + numbered(5))
    await settled(server)
    assert bob.seen == [("room", 5)]
    await bob.stop()


def line(server: str, case: str, speed: float, cpu: float, **more: Any) -> dict[str, Any]:
    figures = {"messages_per_second": speed, "server_cpu_us": {"x": cpu, "total": cpu}}
    return {"server": server, "case": case} | figures | more


def test_ratios_are_those_to_the_better_figure_of_the_peer() -> None:
    idle = {"case": "idle"}
    lines = [
        line("imcloud", "pairs-1", 800, 100),
        idle | {"server": "imcloud", "gateway_bytes_per_connection": 100},
        line("peer", "pairs-1", 100, 300, acknowledged=True),
        line("peer", "pairs-1", 200, 400, acknowledged=False),
        idle | {"server": "peer", "peer_bytes_per_connection": 50},
    ]
    assert ratios(lines) == {
        "peer": {
            "pairs-1": {"speed": 4.0, "server_cpu_us": 0.333},
            "idle": {"bytes_per_connection": 2.0},
        }
    }
    assert len(table(lines).splitlines()) == 1 + len(lines)


def test_versions_are_those_of_what_is_installed() -> None:
    found = versions(["dpkg", "no-package-has-this-name"])
    assert set(found) <= {"dpkg"}


@pytest.mark.parametrize("kind", PEERS.values(), ids=PEERS)
def test_a_peer_archives_what_the_load_sends(kind: type[Peer], tmp_path: Path) -> None:
    if missing := set(kind.packages) - set(versions(kind.packages)):
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    users = [f"user{number}" for number in range(4)]
    data = tmp_path / "data"
    data.mkdir()

    async def chat(pairs: Pairs) -> int:
        await connect(pairs.clients)
        pairs.begin(2)
        await asyncio.sleep(0.5)
        verdict = await pairs.finish()
        await disconnect(pairs.clients)
        assert verdict.delivered == verdict.attempted > 0
        assert not verdict.faults
        return verdict.attempted

    async def talk(room: Room) -> int:
        await connect(room.clients)
        await room.talk(20, 0.2)
        await disconnect(room.clients)
        assert not any(room.faults().values())
        assert room.deliveries == room.sent * (len(users) - 1)
        return room.sent

    with database.running(tmp_path / "database") as its, (peer := kind(data, its)).running():
        peer.register(users)
        sent = [
            asyncio.run(chat(Pairs(peer.port, users, acknowledged=with_them))) for with_them in (True, False)
        ]
        assert peer.archived() == 2 * sum(sent)
        said = asyncio.run(talk(Room(peer.port, users, "room")))
        assert peer.archived() == 2 * sum(sent) + said
