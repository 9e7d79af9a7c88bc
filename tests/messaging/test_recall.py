"""What is taken back: by whom, in which conversation, and in every SET that has it."""

import itertools
import json
import uuid
from typing import Any

import msgpack
import pytest

from apps.messaging import exchange, groups, tasks
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, Verdict, group, private, recall
from apps.messaging.methods.history import history
from apps.messaging.methods.pull import pull
from apps.messaging.models import RECALLED
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.im_pb2 import (
    DownStreamMessages,
    HistoryMsgInput,
    HistoryMsgOuput,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.messages import recalls_in
from apps.routing.protocol.packets import AckStatus
from tests.messaging.conftest import SETS, user

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))
GROUP = next(name for n in itertools.count() if topology.slot("1", name := f"g{n}") % 2 == 0)  # of set1


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def store(at: str, verdicts: list[Verdict]) -> list[str]:
    """Append what is admitted and have the other SET read it; the uids."""
    entries = [verdict for verdict in verdicts if isinstance(verdict, Entry)]
    assert len(entries) == len(verdicts), verdicts
    tasks.log.of(at).append(entries, within=1)
    for name in SETS:
        exchange.run(name)
    return [entry.uid for entry in entries]


def send(sender: str, target: str, text: str = "x", method: str = "ppMsgP") -> str:
    up = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=text.encode()).SerializeToString()
    asked = Request(1, sender, method, target, up, uuid.uuid4().hex)
    admit = private.admit if method == "ppMsgP" else group.admit
    (uid,) = store(home(target), admit(home(target), [asked]))
    return uid


def make_group(*members: str) -> None:
    payload = msgpack.packb([groups.JOIN, members, "name"])
    asked = Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)
    store(home(GROUP), group.change(home(GROUP), [asked]))


def recalling(who: str, target: str, uid: str, kind: int = 1, **facts: Any) -> Request:
    content = {"conversationType": kind, "targetId": target, "messageUId": uid, "sentTime": 1}
    up = UpStreamMessage(sessionId=1, classname="RC:RcCmd", content=json.dumps(content).encode())
    payload = up.SerializeToString()
    return Request(1, who, "recallMsg", recalls_in(payload), payload, uuid.uuid4().hex)._replace(**facts)


def refusal(request: Request) -> int:
    (verdict,) = recall.admit(home(request.target), [request])
    assert isinstance(verdict, Refused)
    return verdict.status


def shown(reader: str) -> list[tuple[str, bytes]]:
    wanted = SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=True).SerializeToString()
    answer = pull(home(reader), Request(1, reader, "pullMsg", reader, wanted, generation=4))
    return [(m.classname, m.content) for m in DownStreamMessages.FromString(answer.payload).list]


def told(reader: str, target: str, method: str = "qryPMsg") -> list[str]:
    wanted = HistoryMsgInput(targetId=target, time=0, count=20, order=0).SerializeToString()
    reply = history(home(reader), Request(1, reader, method, reader, wanted))
    return [m.classname for m in HistoryMsgOuput.FromString(reply.payload).list]


def marked(server_set: str) -> list[str]:
    sql = f"SELECT uid FROM messaging_message WHERE flags & {RECALLED} <> 0"
    return [uid for (uid,) in tasks.log.of(server_set).read(sql, ())]


@pytest.mark.parametrize("peer", [BOB, CAROL])
def test_what_is_recalled_is_gone_on_both_sides_and_both_are_told(peer: str) -> None:
    uid = send(ALICE, peer, "a slip")
    send(ALICE, peer, "stays")
    store(home(peer), recall.admit(home(peer), [recalling(ALICE, peer, uid)]))
    for reader in (ALICE, peer):
        classes = [classname for classname, _ in shown(reader)]
        assert classes == ["RC:TxtMsg", "RC:RcCmd"], reader
        assert b"a slip" not in [content for _, content in shown(reader)], reader
    assert told(ALICE, peer).count("RC:TxtMsg") == told(peer, ALICE).count("RC:TxtMsg") == 1


def test_a_members_message_is_gone_for_the_members_of_all_sets() -> None:
    make_group(ALICE, BOB, CAROL)
    uid = send(ALICE, GROUP, "a slip", "pgMsgP")
    store(home(GROUP), recall.admit(home(GROUP), [recalling(ALICE, GROUP, uid, kind=3)]))
    assert marked("set1") == marked("set2") == [uid]
    for reader in (BOB, CAROL):
        assert [classname for classname, _ in shown(reader)] == ["RC:RcCmd"]
        assert "RC:TxtMsg" not in told(reader, GROUP, "qryGMsg")


def test_nobody_but_the_sender_recalls() -> None:
    make_group(ALICE, BOB)
    private_uid, group_uid = send(ALICE, BOB), send(ALICE, GROUP, method="pgMsgP")
    assert refusal(recalling(BOB, ALICE, private_uid)) == AckStatus.RECALL_NOT_OWN
    assert refusal(recalling(BOB, ALICE, private_uid, generation=2)) == AckStatus.RECALL_NOT_OWN_V2
    assert refusal(recalling(BOB, GROUP, group_uid, kind=3)) == AckStatus.RECALL_NOT_OWN
    assert refusal(recalling(CAROL, GROUP, group_uid, kind=3)) == AckStatus.RECALL_NOT_OWN
    assert marked("set1") == marked("set2") == []


def test_the_server_recalls_in_anybodys_name() -> None:
    make_group(ALICE, BOB)
    uid = send(BOB, GROUP, method="pgMsgP")
    asked = recalling(ALICE, GROUP, uid, kind=3, options=FROM_SERVER)
    store(home(GROUP), recall.admit(home(GROUP), [asked]))
    assert marked("set1") == [uid]


def test_what_is_not_in_the_conversation_that_is_named_is_not_known() -> None:
    make_group(ALICE, BOB)
    uid = send(ALICE, BOB)
    for wrong in (
        recalling(ALICE, BOB, uuid.uuid4().hex),
        recalling(ALICE, CAROL, uid),
        recalling(ALICE, GROUP, uid, kind=3),
        recalling(ALICE, BOB, uid, tenant=2),
        recalling(ALICE, BOB, uid, kind=6),
    ):
        assert refusal(wrong) == AckStatus.RECALL_PARAMETERS
    assert marked("set1") == marked("set2") == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b'{"conversationType":1,"targetId":7,"messageUId":"x"}', b"[" * 9000],
)
def test_a_recall_that_cannot_be_read_is_refused(content: bytes) -> None:
    up = UpStreamMessage(sessionId=1, classname="RC:RcCmd", content=content).SerializeToString()
    assert recalls_in(up) == ""
    assert refusal(Request(1, ALICE, "recallMsg", ALICE, up, "uid")) == AckStatus.RECALL_PARAMETERS


def test_recalling_twice_is_recalling_once() -> None:
    uid = send(ALICE, BOB)
    first = recalling(ALICE, BOB, uid)
    (entry,) = recall.admit("set2", [first])
    for _ in range(2):  # the batch is tried again
        store("set2", [entry])
    assert refusal(recalling(ALICE, BOB, uid)) == AckStatus.OK
    assert [classname for classname, _ in shown(BOB)] == ["RC:RcCmd"]


def test_a_recall_that_overtakes_its_message_is_done_when_that_comes(logs: dict[str, Log]) -> None:
    """The two may come from different logs, where a slot has moved."""
    uid = send(CAROL, ALICE)
    (entry,) = recall.admit("set1", [recalling(CAROL, ALICE, uid)])
    assert isinstance(entry, Entry)
    early = Entry(**{name: getattr(entry, name) for name in Entry.__slots__} | {"copy": True, "sent": 5})
    set2 = logs["set2"]
    set2.run(lambda c: early.effect(c, tasks.log.Place(0, 5, b"")), within=1)  # type: ignore[misc]
    late = Entry(uid, 1, 1, ALICE, BOB, 3, "ppMsgP", entry.up)
    set2.append([late], within=1)
    set2.run(lambda c: recall.changes.arrived(c, [uid]), within=1)
    assert marked("set2") == [uid]
    assert set2.read("SELECT count(*) FROM messaging_earlychange", ()) == [(0,)]
