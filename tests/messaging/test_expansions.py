"""Values that are put to a message after it was sent, by either side, and read by everybody who reads it."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.messaging import exchange, expansions, tasks
from apps.messaging.expansions import KEYS_MAX, applied, parse, values
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, Verdict, private
from apps.messaging.methods.history import history
from apps.routing import topology
from apps.routing.envelope import Request
from apps.routing.protocol.im_pb2 import HistoryMsgInput, HistoryMsgOuput, UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.packets import AckStatus
from tests.messaging.conftest import SETS, user

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))
KEYS = st.text("abcXYZ019+=-_", min_size=1, max_size=32)
CHANGES = st.tuples(
    st.integers(1, 50), st.dictionaries(KEYS, st.text("ab1 ", max_size=5), min_size=1, max_size=3)
)


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def request(sender: str, target: str, classname: str, content: bytes, session: int = 0) -> Request:
    up = UpStreamMessage(sessionId=session, classname=classname, content=content).SerializeToString()
    return Request(1, sender, "ppMsgP", target, up, uuid.uuid4().hex)


def judge(asked: Request) -> Verdict:
    (verdict,) = private.admit(home(asked.target), [asked])
    return verdict


def store(asked: Request) -> str:
    verdict = judge(asked)
    assert isinstance(verdict, Entry), verdict
    tasks.log.of(home(asked.target)).append([verdict], within=1)
    for name in SETS:
        exchange.run(name)
    return verdict.uid


def send(session: int = 0x43) -> str:
    """Alice's message to Bob, which may be expanded."""
    return store(request(ALICE, BOB, "RC:TxtMsg", b"x", session))


def expand(who: str, target: str, **content: Any) -> Request:
    return request(who, target, expansions.CLASS, json.dumps(content).encode())


def told(reader: str, peer: str) -> dict[str, str]:
    wanted = HistoryMsgInput(targetId=peer, time=0, count=20, order=0).SerializeToString()
    reply = history(home(reader), Request(1, reader, "qryPMsg", reader, wanted))
    (message,) = HistoryMsgOuput.FromString(reply.payload).list
    return {key: its["v"] for key, its in json.loads(message.extraContent or "{}").items()}


def test_both_sides_read_what_either_has_put(sets: dict[str, Log]) -> None:
    uid = send()
    store(expand(ALICE, BOB, mid=uid, put={"a": "1", "b": "2"}))
    assert told(ALICE, BOB) == told(BOB, ALICE) == {"a": "1", "b": "2"}
    store(expand(BOB, ALICE, mid=uid, put={"a": "3"}, **{"del": ["b"]}))
    assert told(ALICE, BOB) == told(BOB, ALICE) == {"a": "3"}
    store(expand(ALICE, BOB, mid=uid, removeAll=1))
    assert told(ALICE, BOB) == told(BOB, ALICE) == {}


@pytest.mark.parametrize(
    ("session", "asked", "status"),
    [
        (0x03, lambda uid: expand(ALICE, BOB, mid=uid, put={"a": "1"}), AckStatus.EXPANSION_UNSUPPORTED),
        (0x43, lambda uid: expand(ALICE, BOB, mid="nothing", put={"a": "1"}), AckStatus.EXPANSION_NOT_FOUND),
        (
            0x43,
            lambda uid: expand(ALICE, BOB, mid=uid, put={"a": "1"})._replace(tenant=2),
            AckStatus.EXPANSION_NOT_FOUND,
        ),
        (0x43, lambda uid: expand(CAROL, ALICE, mid=uid, put={"a": "1"}), AckStatus.EXPANSION_NOT_AUTHORISED),
        (0x43, lambda uid: expand(ALICE, BOB, mid=uid, put={"not a key": "1"}), AckStatus.EXPANSION_FORMAT),
        (0x43, lambda uid: expand(ALICE, BOB, mid=uid), AckStatus.EXPANSION_FORMAT),
        (0x43, lambda uid: request(ALICE, BOB, expansions.CLASS, b"[]"), AckStatus.EXPANSION_FORMAT),
    ],
)
def test_who_may_not_expand_what(sets: dict[str, Log], session: int, asked: Any, status: int) -> None:
    uid = send(session)
    assert judge(asked(uid)) == Refused(status)


def test_a_message_has_so_many_keys_and_no_more(sets: dict[str, Log]) -> None:
    uid = send()
    for begin in range(0, KEYS_MAX, 100):
        store(expand(ALICE, BOB, mid=uid, put={f"k{n}": "v" for n in range(begin, begin + 100)}))
    assert judge(expand(ALICE, BOB, mid=uid, put={"one-more": "v"})) == Refused(AckStatus.EXPANSION_FORMAT)
    store(expand(ALICE, BOB, mid=uid, put={"k0": "new"}))
    assert told(BOB, ALICE)["k0"] == "new"


@given(st.lists(CHANGES, max_size=6, unique_by=lambda change: change[0]), st.randoms(use_true_random=False))
def test_changes_have_one_result_in_whatever_order_they_come(changes: Any, random: Any) -> None:
    wanted = [(at, parse(expansions.content("uid", put=put))) for at, put in changes]
    shuffled = random.sample(wanted, len(wanted))
    results = []
    for order in (sorted(wanted, key=lambda each: each[0]), shuffled):
        found: Any = {}
        for at, change in order:
            found = applied(found, change, at)
        results.append({key: its["v"] for key, its in found.items()})
    assert results[0] == results[1]


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_the_content_it_is_read_or_refused(content: bytes) -> None:
    try:
        parse(content)
    except ProtocolError:
        pass
    assert isinstance(values(content.decode(errors="replace")), dict)
