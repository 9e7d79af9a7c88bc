"""The way around ASGI: what is framed, and what becomes of messages that came before it was taken."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from imcloud.management.commands.serve import Socket, framed


@given(st.binary(max_size=300))
@example(b"x" * 125)
@example(b"x" * 126)
@example(b"x" * 65_535)
@example(b"x" * 65_536)
def test_a_message_is_one_frame_that_other_software_reads(message: bytes) -> None:
    reader = StreamReader()
    reader.feed_data(framed(message))
    with pytest.raises(StopIteration) as parsed:
        next(Frame.parse(reader.read_exact, mask=False))
    assert parsed.value.value == Frame(Opcode.BINARY, message)
    assert not reader.buffer


class Protocol(SimpleNamespace):
    """As much of Daphne's as a Socket uses."""

    STATE_OPEN = 3

    def __init__(self, *came: dict[str, Any]) -> None:
        super().__init__(state=3, application_queue=asyncio.Queue(), onMessage=None, written=[])
        self.transport = SimpleNamespace(write=self.written.append)
        for event in came:
            self.application_queue.put_nowait(event)


def test_messages_that_wait_come_first_and_the_end_stays_to_be_received() -> None:
    end = {"type": "websocket.disconnect", "code": 1006}
    protocol = Protocol(
        {"type": "websocket.receive", "bytes": b"1"}, {"type": "websocket.receive", "text": "2"}, end
    )
    taken: list[bytes] = []
    Socket(protocol).listen(taken.append)
    protocol.onMessage(b"3", True)
    protocol.onMessage(b"text", False)
    assert taken == [b"1", b"", b"3", b""]
    assert protocol.application_queue.get_nowait() == end
    assert protocol.application_queue.empty()


def test_nothing_is_written_to_a_socket_that_is_closing() -> None:
    protocol = Protocol()
    Socket(protocol).write(b"a")
    protocol.state = 2
    Socket(protocol).write(b"b")
    assert protocol.written == [framed(b"a")]
