"""System messages: to a user, to everybody in every SET, and taken back."""

import json
import uuid

import pytest

from apps.messaging import exchange, log, tasks
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, Status, Verdict, system
from apps.messaging.methods.pull import TO_ALL_KEPT, pull
from apps.messaging.models import RECALLED
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import ask, reply
from tests.messaging.conftest import SETS, away, user

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))
NEWS = "news"  # who sends them


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def judge(target: str, content: bytes, classname: str = "RC:TxtMsg", method: str = "sysMsg") -> Verdict:
    up = im.UpStreamMessage(sessionId=3, classname=classname, content=content).SerializeToString()
    asked = Request(1, NEWS, method, target, up, uuid.uuid4().hex, FROM_SERVER)
    (verdict,) = system.admit(home(target), [asked])
    return verdict


def send(target: str, content: bytes, classname: str = "RC:TxtMsg") -> str:
    entry = judge(target, content, classname)
    assert isinstance(entry, Entry), entry
    log.of(home(target)).append([entry], within=1)
    for name in SETS:
        exchange.run(name)
    return entry.uid


def shown(reader: str, tenant: int = 1, since: int = 0) -> list[bytes]:
    wanted = im.SyncRequestMsg(syncTime=since, ispolling=False, isPullSend=True).SerializeToString()
    asked = Request(tenant, reader, "pullMsg", reader, wanted, generation=4)
    answer = pull(topology.home(tenant, reader), asked)
    messages = im.DownStreamMessages.FromString(answer.payload)
    assert all(message.type == 6 and message.fromUserId == NEWS for message in messages.list)
    assert messages.broadcastSyncTime >= 1
    return [message.content for message in messages.list]


def told(reader: str) -> list[bytes]:
    wanted = im.HistoryMsgInput(targetId=NEWS, time=0, count=20, order=0)
    return [each.content for each in reply(im.HistoryMsgOuput, reader, "qrySMsg", wanted).list]


def recall(uid: str) -> bytes:
    named = {"conversationType": 6, "targetId": NEWS, "messageUId": uid, "sentTime": 1}
    return json.dumps(named).encode()


def test_a_user_gets_what_is_for_him_and_nobody_else_does() -> None:
    send(ALICE, b"for alice")
    send(BOB, b"for bob")
    assert [shown(name) for name in (ALICE, BOB, CAROL)] == [[b"for alice"], [b"for bob"], []]
    assert told(ALICE) == [b"for alice"]
    assert shown(ALICE, tenant=2) == []


def test_everybody_gets_what_is_for_all_once_in_whichever_set_he_is(logs: dict[str, Log]) -> None:
    send("", b"for all")
    send(ALICE, b"for alice")
    assert [shown(name) for name in (ALICE, BOB, CAROL)] == [
        [b"for all", b"for alice"],
        [b"for all"],
        [b"for all"],
    ]
    sql = "SELECT count(*) FROM messaging_message WHERE kind = 6 AND target = ''"
    assert [logs[name].read(sql, ()) for name in SETS] == [[(1,)], [(1,)]]
    assert told(ALICE) == [b"for alice", b"for all"]
    assert told(BOB) == [b"for all"]


def test_a_set_that_was_away_gets_it_when_it_is_back() -> None:
    other = next(name for name in SETS if name != home(""))
    with away(other):
        entry = judge("", b"for all")
        assert isinstance(entry, Entry)
        log.of(home("")).append([entry], within=1)
        with pytest.raises(log.Unavailable):
            exchange.catch_up(other, home(""))
    log.of(other).close()
    exchange.run(other)
    assert shown(ALICE) == shown(BOB) == [b"for all"]


def test_what_is_for_all_is_pulled_for_a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    send("", b"for all")
    now = log.now()
    monkeypatch.setattr(log, "now", lambda: now + TO_ALL_KEPT + 60_000)
    assert shown(ALICE) == []


def test_what_is_for_all_can_be_taken_back_everywhere(logs: dict[str, Log]) -> None:
    uid = send("", b"a slip")
    send("", recall(uid), "RC:RcCmd")
    assert shown(ALICE) == shown(BOB) == [recall(uid)]
    assert told(ALICE) == told(BOB) == []
    sql = f"SELECT uid FROM messaging_message WHERE flags & {RECALLED} <> 0"
    assert [logs[name].read(sql, ()) for name in SETS] == [[(uid,)], [(uid,)]]


def test_nobody_takes_back_what_is_not_a_system_message_of_his() -> None:
    private = Entry(
        uuid.uuid4().hex, 1, 1, CAROL, ALICE, 3, "ppMsgP", im.UpStreamMessage().SerializePartialToString()
    )
    log.of("set1").append([private], within=1)
    for uid in (private.uid, "unknown"):
        assert judge("", recall(uid), "RC:RcCmd") == Refused(AckStatus.RECALL_PARAMETERS)
    assert judge("", b"{}", "RC:RcCmd") == Refused(AckStatus.RECALL_PARAMETERS)


def test_what_is_for_those_online_is_not_stored() -> None:
    verdict = judge("", b"now", method="sysMsgS")
    assert verdict == Status(6)
    row = tasks._status_row(Request(1, NEWS, "sysMsgS", "", b"", "uid"), Status(6), 5)
    assert (row.seq, row.kind, row.target, row.to) == (0, 6, "", ())


def test_clients_do_not_send_into_system_conversations() -> None:
    up = im.UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b"x").SerializeToString()
    (verdict,) = tasks.MESSAGE_METHODS["pbMsgP"]("set1", [Request(1, ALICE, "pbMsgP", ALICE, up, "uid")])
    assert verdict == Refused(AckStatus.SYSTEM_CONVERSATION)


def test_the_list_of_conversations_has_the_sender_with_the_newest_of_both() -> None:
    send(ALICE, b"for alice")
    send("", b"for all")
    answer = reply(im.RelationsOutput, ALICE, "qryRelationR", im.RelationQryInput(count=5))
    assert [(each.type, each.userId, each.msg.content, each.unreadCount) for each in answer.info] == [
        (6, NEWS, b"for all", 2)
    ]
    assert ask(BOB, "qryRelationR", im.RelationQryInput(count=5)).status == 0
