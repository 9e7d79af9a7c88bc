"""What users have read: told to their own devices, kept in their home SET, and listed for groups."""

import itertools
import json
import uuid

import msgpack
import pytest

from apps.messaging import exchange, groups, slot_moves, tasks
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, Verdict, group, private, receipts
from apps.messaging.methods.pull import pull
from apps.messaging.models import ConversationRead, EarlyChange, GroupRead
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.im_pb2 import (
    DownStreamMessages,
    GrpReadReceiptMsg,
    GrpReadReceiptQryReq,
    GrpReadReceiptQryResp,
    SessionMsgReadInput,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import SETS, user

ALICE, BOB, CAROL = user("set1"), user("set2"), user("set1", but=user("set1"))
GROUP = next(name for n in itertools.count() if topology.slot("1", name := f"g{n}") % 2 == 0)  # of set1


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def home(name: str) -> str:
    return SETS[topology.slot("1", name) % 2]


def store(at: str, verdicts: list[Verdict]) -> list[str]:
    entries = [verdict for verdict in verdicts if isinstance(verdict, Entry)]
    assert len(entries) == len(verdicts), verdicts
    tasks.log.of(at).append(entries, within=1)
    for name in SETS:
        exchange.run(name)
    return [entry.uid for entry in entries]


def message(sender: str, target: str, method: str, classname: str, content: bytes = b"x") -> Request:
    up = UpStreamMessage(sessionId=3, classname=classname, content=content).SerializeToString()
    return Request(1, sender, method, target, up, uuid.uuid4().hex)


def in_group(*members: str) -> str:
    """The uid of Alice's message to a group of these members."""
    payload = msgpack.packb([groups.JOIN, members, "name"])
    made = Request(1, "", "grpChange", GROUP, payload, uuid.uuid4().hex, FROM_SERVER)
    store("set1", group.change("set1", [made]))
    (uid,) = store("set1", group.admit("set1", [message(ALICE, GROUP, "pgMsgP", "RC:TxtMsg")]))
    return uid


def read_times(name: str) -> dict[tuple[int, str], int]:
    rows = ConversationRead.objects.using(home(name)).filter(user=name)
    return {(row.kind, row.target): row.time for row in rows}


def tell(who: str, at: int, target: str = BOB, method: str = "updRTime") -> list[Verdict]:
    payload = SessionMsgReadInput(type=1, channelId=target, msgTime=at).SerializeToString()
    return receipts.admit(home(who), [Request(1, who, method, who, payload, uuid.uuid4().hex)])


def rr_list(who: str, uid: str, target: str = GROUP, tenant: int = 1) -> int | list[str]:
    asked = GrpReadReceiptQryReq(msgId=[uid])
    answer = ask(who, "rrList", asked, target=target, tenant=tenant, server_set="set1")
    if answer.status:
        return answer.status
    return [each.userId for each in GrpReadReceiptQryResp.FromString(answer.payload).list]


def rr_msg(who: str, uid: str) -> int:
    return ask(who, "rrMsg", GrpReadReceiptMsg(msgId=[uid]), target=GROUP, server_set="set1").status


def test_a_time_of_reading_is_kept_and_never_goes_back() -> None:
    for method, at in (("updRTime", 5000), ("updRRTime", 7000), ("updRTime", 6000)):
        store("set1", tell(ALICE, at, method=method))
    assert read_times(ALICE) == {(1, BOB): 7000}


def test_nobody_has_read_what_is_later_than_the_log(logs: dict[str, Log]) -> None:
    store("set1", tell(ALICE, 1 << 60))
    ((newest,),) = logs["set1"].read("SELECT time FROM messaging_head", ())
    assert read_times(ALICE)[1, BOB] <= newest


@pytest.mark.parametrize("target", [BOB, GROUP])
def test_a_sync_of_reading_is_for_the_senders_devices_alone(target: str) -> None:
    in_group(ALICE, BOB, CAROL)
    content = json.dumps({"lastMessageSendTime": 4000}).encode()
    method, admit = ("ppMsgP", private.admit) if target == BOB else ("pgMsgP", group.admit)
    (uid,) = store(
        home(target), list(admit(home(target), [message(ALICE, target, method, "RC:SRSMsg", content)]))
    )
    assert read_times(ALICE) == {(1 if target == BOB else 3, target): 4000}
    for reader, expected in ((BOB, False), (CAROL, False), (ALICE, True)):
        wanted = SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=True).SerializeToString()
        answer = pull(home(reader), Request(1, reader, "pullMsg", reader, wanted, generation=4))
        shown = [m.msgId for m in DownStreamMessages.FromString(answer.payload).list]
        assert (uid in shown) is expected, reader


def test_who_has_read_a_groups_message_is_listed_once() -> None:
    uid = in_group(ALICE, BOB, CAROL)
    assert rr_list(ALICE, uid) == []
    for who in (BOB, BOB, CAROL, ALICE):  # its own sender does not count
        assert rr_msg(who, uid) == 0
    assert rr_list(ALICE, uid) == [BOB, CAROL]
    kept = reply(GrpReadReceiptQryResp, ALICE, "rrList", GrpReadReceiptQryReq(msgId=[uid]), target=GROUP)
    assert kept.totalMemberNum == 3


def test_who_may_not_tell_or_ask_what_was_read() -> None:
    uid = in_group(ALICE, BOB)
    assert rr_msg(CAROL, uid) == rr_list(CAROL, uid) == AckStatus.NOT_IN_GROUP
    assert rr_list(ALICE, uid, tenant=2) == AckStatus.NOT_IN_GROUP
    assert rr_list(ALICE, uid, target="no-such-group") == AckStatus.NOT_IN_GROUP
    assert rr_msg(BOB, "no-such-message") == AckStatus.EXPANSION_NOT_FOUND
    assert ask(BOB, "rrMsg", MALFORMED_BYTES, target=GROUP, server_set="set1").status == AckStatus.MALFORMED
    assert GroupRead.objects.using("set1").count() == 0


@pytest.mark.parametrize(
    "payload", [b"", MALFORMED_BYTES, SessionMsgReadInput(type=1, msgTime=5).SerializePartialToString()]
)
def test_a_time_of_reading_that_is_none_is_refused(payload: bytes) -> None:
    asked = Request(1, ALICE, "updRTime", ALICE, payload, "uid")
    assert receipts.admit("set1", [asked]) == [Refused(AckStatus.MALFORMED)]


def test_what_was_read_moves_with_its_slot() -> None:
    moving = slot_moves._others()
    assert ConversationRead in moving and GroupRead in moving
    assert EarlyChange not in moving  # it is made anew by the rows that move
