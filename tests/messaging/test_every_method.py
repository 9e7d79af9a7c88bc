"""Every method of the client protocol, with whatever a client may send: its own code, and nothing is stored.

A method that is added to the registry must be added to the table here.
"""

import itertools
import json
import uuid
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import redis
from django.apps import apps
from google.protobuf.message import Message

from apps.messaging import groups, log, tasks
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, group
from apps.messaging.models import PRIVATE, GroupRule
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.methods import METHODS
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.json_form import BODIES
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus
from tests.messaging.asking import MALFORMED_BYTES
from tests.messaging.conftest import user

ALICE, MALLORY = user("set1"), user("set1", but=user("set1"))
TENANT, FOREIGN = 1, 2

# What a body holds in all of its fields: text, number. "undecodable" and "nothing" are the bytes themselves.
CASES: dict[str, bytes | tuple[str, int]] = {
    "undecodable": MALFORMED_BYTES,
    "nothing": b"",
    "NUL": ("\0", 1),
    "long": ("y" * 5000, 1),
    "negative": ("x", -1),
    "huge": ("x", (1 << 31) - 1),
}
# What becomes of them, case by case: a status, or "-" where the request is one that can be served.
TABLE = """
ppMsgP ppMsgN ppMsgS                33003 33003 -     -     -     -
pgMsgP pgMsgS                       33003 33003 22406 22406 22406 22406
pdMsgP                              33003 33003 21406 21406 21406 21406
pbMsgP                              20109 20109 20109 20109 20109 20109
recallMsg                           25101 25101 25101 25101 25101 25101
updRTime updRRTime                  33003 33003 33003 33003 33003 33003
rrMsg rrList                        33003 33003 33003 33003 22406 22406
pullMsg                             33003 -     -     -     -     -
qryPMsg qryGMsg qrySMsg qryDMsg     33003 33003 33003 33003 -     -
qryMsg delMsg                       33003 33003 33003 33003 -     -
cleanPMsg cleanDMsg cleanGMsg       33003 33003 33003 33003 33003 -
cleanCMsg cleanSMsg                 33003 33003 33003 33003 33003 -
cleanMCMsg cleanMPMsg               33003 33003 33003 33003 33003 -
cleanMsgBatch                       33003 33003 33003 33003 33003 33003
qryRelation                         33003 -     -     -     -     -
qryRelationR                        33003 -     -     -     33003 33003
qryRelationFilter                   33003 -     33003 33003 33003 33003
delRelation                         33003 33003 -     -     33003 33003
delRelationBatch delSessions        33003 33003 33003 33003 33003 33003
qrySessionsAtt reportsdk qAppBot    -     -     -     -     -     -
pullEventChange pullModifyMsg       33003 -     -     -     -     -
pullUS pullSeAtts                   33003 -     -     -     -     -
addSeTag delSeTag disTag            33003 33003 33003 33003 -     -
addUnpush setOfflineMsgDur          33003 33003 33003 33003 33003 33003
qryUnpush delUnpush                 33003 -     -     -     -     -
setSeAtt addTag delTag              33003 33003 33003 33003 33003 33003
setTypeUnpush                       33003 33003 -     -     33003 33003
blkPPush unblkPPush qryPPush        33003 33003 33003 33003 -     -
blkDPush unblkDPush qryDPush        33003 33003 33003 33003 -     -
addBlack rmBlack                    33003 33003 33003 33003 -     -
getBlack                            33003 -     -     -     -     -
blackStat                           33003 33003 33003 33003 101   101
subUserStatus                       33003 33003 33003 33003 -     -
getUserStatus                       33003 -     -     -     -     -
setUserStatus                       33003 33003 -     -     33003 33003
updUserSub qrySubData               33003 26020 33003 33003 26020 26020
pullUserSub pullSubData             33003 -     -     -     -     -
crDiz                               33003 33003 33003 33003 -     -
invtDiz evctDiz                     33003 33003 33003 33003 21406 21406
rename                              33003 33003 33003 33003 21406 21406
quitDiz dizInf                      33003 21406 21406 21406 21406 21406
pdOpen                              33003 21406 21406 21406 33003 33003
qnTkn                               33003 20606 20606 20606 20606 20606
qnUrl minioUrl s3Url                33003 20606 20606 20606 20606 20606
chatMsg chatMsgS                    33003 33003 23410 23410 23410 23410
joinChrm exitChrm                   33003 -     -     -     -     -
joinChrmR queryChrmI                33003 23410 23410 23410 23410 23410
chrmPull pullKV                     33003 23410 23410 23410 23410 23410
qryCHMsg                            33003 33003 33003 23410 23410 23410
setKV delKV setKVS delKVS           33003 23412 23412 23412 23410 23410
"""
EXPECTED = {
    method: dict(zip(CASES, statuses, strict=True))
    for *names, a, b, c, d, e, f in map(str.split, TABLE.strip().splitlines())
    for method in names
    for statuses in [(a, b, c, d, e, f)]
}


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log], redis_client: "redis.Redis") -> dict[str, Log]:
    return sets


def filled(message: Message, text: str, number: int, depth: int = 3) -> Message:
    """The message with this text and number in all of its fields, those of the messages in it too."""
    values: dict[Any, Any] = {}
    for field in message.DESCRIPTOR.fields:
        values = {field.TYPE_STRING: text, field.TYPE_BYTES: text.encode(), field.TYPE_BOOL: True}
        own = getattr(message, field.name)
        if field.type == field.TYPE_MESSAGE:
            if depth:
                filled(own.add() if field.is_repeated else own, text, number, depth - 1)
            continue
        value = values.get(field.type, number)
        if field.is_repeated:
            own.append(value)
        elif field.enum_type is None or value in field.enum_type.values_by_number:
            setattr(message, field.name, value)
    return message


def in_set1(kind: str) -> str:
    return next(name for n in itertools.count() if topology.slot("1", name := f"{kind}{n}") % 2 == 0)


def served(request: Request) -> str:
    """The status of a request; "-" when it is 0. A message that is let through is not stored here."""
    if METHODS[request.method].is_message:
        (verdict,) = tasks._verdicts("set1", [(0, request)])
        status = verdict.status if isinstance(verdict, Refused) else 0
    else:
        status = tasks._answer("set1", request).status
    return str(int(status)) if status else "-"


def request(method: str, payload: bytes, target: str, *, tenant: int = TENANT, who: str = ALICE) -> Request:
    return Request(tenant, who, method, target, payload, uuid.uuid4().hex, generation=5, connection="c")


def stored() -> list[Any]:
    """How many rows every table of a SET has."""
    tables = [m._meta.db_table for m in apps.get_models() if getattr(m, "in_set", False)]
    counts = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in tables)
    return log.of("set1").read(counts, ())  # type: ignore[arg-type]


def test_the_table_has_every_method() -> None:
    assert EXPECTED.keys() == METHODS.keys()


@pytest.mark.parametrize("case", CASES)
def test_each_method_has_its_code_for_what_it_cannot_serve_and_stores_nothing(case: str) -> None:
    how = CASES[case]
    found = {}
    for method in METHODS:
        before = stored()
        body = BODIES[method].up
        assert body is not None
        payload = how if isinstance(how, bytes) else filled(body(), *how).SerializePartialToString()
        found[method] = served(request(method, payload, in_set1(f"{method}-{case}-")))
        assert found[method] == "-" or stored() == before, method
    assert found == {method: cases[case] for method, cases in EXPECTED.items()}


def message(content: bytes = b"{}", **facts: Any) -> bytes:
    return im.UpStreamMessage(
        sessionId=3, classname="RC:TxtMsg", content=content, **facts
    ).SerializeToString()


SENDING = [name for name, body in BODIES.items() if body.up is im.UpStreamMessage and name in METHODS]


@pytest.mark.parametrize("method", sorted(set(SENDING) - {"recallMsg", "pbMsgP"}))
def test_a_message_that_is_too_large_is_refused_as_that(method: str) -> None:
    room = in_set1("room")
    payload = message(b"x" * (MAX_CONTENT + 1))
    assert served(request(method, payload, room)) in (str(int(AckStatus.TOO_BIG)), "23410")


@pytest.fixture
def place() -> dict[str, str]:
    """A group and a room of Alice's, a message of hers in the group, and one to Mallory."""
    club, room = in_set1("club"), in_set1("room")
    change = msgpack.packb([groups.JOIN, [ALICE], "The club"])
    made = request("grpChange", change, club)._replace(options=FROM_SERVER)
    join = im.ChrmInput(nothing=0).SerializeToString()
    assert served(request("joinChrm", join, room)) == "-"
    of_group = request("pgMsgP", message(), club)
    private = Entry(uuid.uuid4().hex, TENANT, PRIVATE, ALICE, MALLORY, 3, "ppMsgP", message())
    for admit, asked in ((group.change, made), (group.admit, of_group)):
        (entry,) = admit("set1", [asked])
        assert isinstance(entry, Entry)
        log.of("set1").append([entry], within=1)
    log.of("set1").append([private], within=1)
    return {"club": club, "room": room, "in club": of_group.uid, "private": private.uid}


def recalling(uid: str, kind: int, target: str) -> bytes:
    named = {"conversationType": kind, "targetId": target, "messageUId": uid, "sentTime": 1}
    up = im.UpStreamMessage(sessionId=1, classname="RC:RcCmd", content=json.dumps(named).encode())
    return up.SerializeToString()


# Method, its payload, its target, and what somebody gets who has nothing to do with it.
FOREIGN_TO = [
    ("pgMsgP", lambda p: message(), "club", "22406"),
    ("pgMsgS", lambda p: message(), "club", "22406"),
    ("rrMsg", lambda p: im.GrpReadReceiptMsg(msgId=[p["in club"]]).SerializeToString(), "club", "22406"),
    ("rrList", lambda p: im.GrpReadReceiptQryReq(msgId=[p["in club"]]).SerializeToString(), "club", "22406"),
    ("recallMsg", lambda p: recalling(p["in club"], 3, p["club"]), "club", "25107"),
    ("chatMsg", lambda p: message(), "room", "23406"),
    ("chrmPull", lambda p: im.ChrmPullMsg(syncTime=0, count=5).SerializeToString(), "room", "23406"),
    ("pullKV", lambda p: im.QueryChrmKV(timestamp=0).SerializeToString(), "room", "23406"),
]


@pytest.mark.parametrize(
    ("method", "payload", "target", "status"), FOREIGN_TO, ids=[each[0] for each in FOREIGN_TO]
)
def test_who_is_no_member_is_told_so_and_another_tenant_is_told_that_it_is_not_there(
    place: dict[str, str], method: str, payload: Callable[[dict[str, str]], bytes], target: str, status: str
) -> None:
    its, unknown = place[target], in_set1("unknown")
    nowhere = place | {target: unknown, "in club": "unknown"}
    before = stored()
    assert served(request(method, payload(place), its, who=MALLORY)) == status
    foreign = served(request(method, payload(place), its, tenant=FOREIGN))
    assert foreign == served(request(method, payload(nowhere), unknown, tenant=FOREIGN)) != "-"
    assert stored() == before


def test_what_is_muted_is_refused_as_that(place: dict[str, str]) -> None:
    number = topology.slot("1", place["club"])
    rule = {"tenant": TENANT, "group": place["club"], "slot": number, "until": 1 << 50}
    GroupRule.objects.using("set1").create(user=ALICE, kind=GroupRule.Kind.MUTED, **rule)
    assert served(request("pgMsgP", message(), place["club"])) == str(int(AckStatus.GROUP_MUTED))


@pytest.mark.parametrize("method", ["qryPMsg", "qryGMsg", "qryMsg", "qryRelationR", "pullMsg"])
def test_another_tenants_user_of_the_same_name_reads_nothing(place: dict[str, str], method: str) -> None:
    body = BODIES[method].up
    assert body is not None
    fields: dict[str, Any] = {"targetId": place["club"] if method == "qryGMsg" else MALLORY}
    if method == "qryMsg":
        fields |= {"type": 1, "query": [im.MessageQueryInfo(msgTime=0, msgUID=place["private"])]}
    if method in ("qryRelationR", "pullMsg"):
        fields = (
            {"count": 10}
            if method == "qryRelationR"
            else {"syncTime": 0, "ispolling": False, "isPullSend": True}
        )
    payload = body(**fields).SerializeToString()
    reply = BODIES[method].reply
    assert reply is not None
    for tenant, number in ((TENANT, 1), (FOREIGN, 0)):
        asked = request(method, payload, ALICE, tenant=tenant)
        answer = tasks._answer(topology.home(tenant, ALICE), asked)
        assert answer.status == 0
        found: Any = reply.FromString(answer.payload)
        listed = found.info if method == "qryRelationR" else found.list
        assert (len(listed) > 0) is bool(number), method


def test_one_message_that_cannot_be_stored_does_not_fail_the_others(logs: dict[str, Log]) -> None:
    def burst(connection: Any, place: Any) -> None:
        connection.execute("SELECT 70000::int2")

    good = [Entry(uuid.uuid4().hex, 1, PRIVATE, ALICE, MALLORY, 3, "ppMsgP", message()) for _ in range(3)]
    bad = Entry(uuid.uuid4().hex, 1, PRIVATE, ALICE, MALLORY, 3, "ppMsgP", message(), effect=burst)
    answers: list[Any] = []
    appended = tasks._append("set1", list(enumerate([good[0], bad, *good[1:]])), answers)
    assert appended is not None
    assert [row.uid for row in appended.rows] == [entry.uid for entry in good]
    assert [(answer.place, answer.status) for answer in answers] == [(1, AckStatus.FAILED)]
