"""Values that are put to a message after it was sent: who may, and what becomes of them in every SET."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.messaging import changes, exchange, expansions, log, slot_moves
from apps.messaging.expansions import ALLOWED, KEYS_A_CALL, KEYS_MAX, VALUE_MAX, Change, Values, applied
from apps.messaging.log import Log
from apps.messaging.models import EarlyChange
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import ask
from tests.messaging.conftest import away, user, users
from tests.messaging.sending import Sent, boxes, exchanged, group_of, history, join, say, send, stored, up
from tests.messaging.test_recall import recall
from tests.messaging.test_slot_moves import begin, finish_moves, move

ALICE, CAROL, MALLORY = users("set1", 3)
BOB = user("set2")
OPEN = 3 | ALLOWED


@pytest.fixture(autouse=True)
def ready(sets: dict[str, Log], redis_client: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_moves, "SETTLE", 0)


def expand(who: str, target: str, uid: Any, method: str = "ppMsgP", **wanted: Any) -> Sent:
    facts = {name: wanted.pop(name) for name in ("options", "tenant") if name in wanted}
    if "delete" in wanted:
        wanted["del"] = wanted.pop("delete")
    return send(who, method, target, up({"mid": uid} | wanted, expansions.CLASS, 0), **facts)


def of(messages: list[im.DownStreamMessage], uid: str) -> dict[str, str]:
    (extra,) = (each.extraContent for each in messages if each.msgId == uid)
    return {key: its["v"] for key, its in json.loads(extra or "{}").items()}


@pytest.mark.parametrize("peer", [BOB, CAROL], ids=["of another SET", "of the same SET"])
def test_both_sides_expand_a_message_and_both_read_what_is_there(peer: str) -> None:
    uid = say(ALICE, peer, session=OPEN, extraContent='{"first":{"v":"0"}}')
    assert expand(ALICE, peer, uid, put={"a": "1", "b": "é😀"}).status == 0
    sent = expand(peer, ALICE, uid, put={"a": "2"}, delete=["first"])
    assert sent.status == 0
    exchanged()
    for reader, other in ((ALICE, peer), (peer, ALICE)):
        assert of(boxes(reader), uid) == of(history(reader, other), uid) == {"a": "2", "b": "é😀"}
    assert boxes(ALICE)[-1].classname == "RC:MsgExMsg"
    assert [each.msgId for each in history(ALICE, peer)] == [uid]
    assert expand(ALICE, peer, uid, removeAll=1, put={"c": "3"}).status == 0
    exchanged()
    assert of(boxes(ALICE), uid) == of(boxes(peer), uid) == {"c": "3"}


def test_members_of_every_set_read_what_one_of_them_has_put() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    uid = say(ALICE, group, method="pgMsgP", session=OPEN)
    exchanged()
    assert expand(BOB, group, uid, "pgMsgP", put={"vote": "yes"}).status == 0
    exchanged()
    for reader in (ALICE, BOB, CAROL):
        assert of(boxes(reader), uid) == of(history(reader, group, "qryGMsg"), uid) == {"vote": "yes"}


def test_what_may_not_be_expanded_is_refused_and_nothing_is_stored() -> None:
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    uid, closed = say(ALICE, CAROL, session=OPEN), say(ALICE, CAROL)
    directed = say(ALICE, group, method="pgMsgP", session=OPEN, toUserIds=[BOB])
    foreign = send(ALICE, "ppMsgP", CAROL, up(session=OPEN), tenant=2, server_set="set1").uid
    gone = say(ALICE, CAROL, session=OPEN)
    recall(ALICE, 1, CAROL, gone)
    exchanged()
    before = stored()
    put: dict[str, Any] = {"put": {"a": "1"}}
    for status, sent in (
        (AckStatus.EXPANSION_NOT_FOUND, expand(ALICE, CAROL, "no such", **put)),
        (AckStatus.EXPANSION_NOT_FOUND, expand(ALICE, CAROL, foreign, **put)),
        (AckStatus.EXPANSION_NOT_FOUND, expand(ALICE, CAROL, gone, **put)),
        (AckStatus.EXPANSION_UNSUPPORTED, expand(ALICE, CAROL, closed, **put)),
        (AckStatus.EXPANSION_NOT_AUTHORISED, expand(MALLORY, CAROL, uid, **put)),
        (AckStatus.EXPANSION_NOT_AUTHORISED, expand(ALICE, MALLORY, uid, **put)),
        (AckStatus.EXPANSION_NOT_AUTHORISED, expand(ALICE, group, uid, "pgMsgP", **put)),
        (AckStatus.EXPANSION_NOT_AUTHORISED, expand(CAROL, group, directed, "pgMsgP", **put)),
        (AckStatus.NOT_IN_GROUP, expand(MALLORY, group, directed, "pgMsgP", **put)),
    ):
        assert sent.status == status
    assert stored() == before
    assert of(boxes(CAROL), uid) == {}


BAD: list[Any] = [
    b"",
    b"{",
    b"[" * 100_000,
    [],
    {},
    {"put": {"a": "1"}},
    {"mid": 5, "put": {"a": "1"}},
    {"mid": "u" * 65, "put": {"a": "1"}},
    {"mid": "\0", "put": {"a": "1"}},
    {"mid": "u"},
    {"mid": "u", "put": {}},
    {"mid": "u", "put": "a"},
    {"mid": "u", "put": [["a", "1"]]},
    {"mid": "u", "put": {"a": 1}},
    {"mid": "u", "put": {"a": None}},
    {"mid": "u", "put": {"a": "\ud800"}},
    {"mid": "u", "put": {"a": "\0"}},
    {"mid": "u", "put": {"a": "x" * (VALUE_MAX + 1)}},
    {"mid": "u", "put": {"a" * 33: "1"}},
    {"mid": "u", "put": {"ä": "1"}},
    {"mid": "u", "put": {"": "1"}},
    {"mid": "u", "put": {f"k{n}": "1" for n in range(KEYS_A_CALL + 1)}},
    {"mid": "u", "del": "a"},
    {"mid": "u", "del": [{}]},
    {"mid": "u", "del": [5]},
]


@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_an_expansion_that_cannot_be_read_is_refused_by_its_own_code(content: Any) -> None:
    before = stored()
    assert send(ALICE, "ppMsgP", BOB, up(content, expansions.CLASS, 0)).status == AckStatus.EXPANSION_FORMAT
    assert stored() == before


def test_a_message_takes_three_hundred_keys() -> None:
    uid = say(ALICE, CAROL, session=OPEN)
    for part in range(KEYS_MAX // KEYS_A_CALL):
        put = {f"k{part}-{n}": "x" for n in range(KEYS_A_CALL)}
        assert expand(ALICE, CAROL, uid, put=put).status == 0
    assert expand(ALICE, CAROL, uid, put={"one-more": "x"}).status == AckStatus.EXPANSION_FORMAT
    assert expand(ALICE, CAROL, uid, put={"k0-0": "y"}).status == 0
    assert len(of(boxes(CAROL), uid)) == KEYS_MAX


@pytest.mark.parametrize(
    "extra", ["{", "[]", '{"a":5}', '{"a":{"v":"\\ud800"}}', '{"a":{"v":"x","ts":9e99}}']
)
def test_whatever_its_sender_has_written_there_a_message_can_be_expanded(extra: str) -> None:
    uid = say(ALICE, CAROL, session=OPEN, extraContent=extra)
    assert expand(CAROL, ALICE, uid, put={"b": "1"}).status == 0
    assert of(boxes(CAROL), uid)["b"] == "1"


def test_a_value_that_claims_to_be_from_the_future_does_not_last() -> None:
    uid = say(ALICE, CAROL, session=OPEN, extraContent='{"a":{"v":"old","ts":99999999999999}}')
    assert expand(CAROL, ALICE, uid, put={"a": "new"}).status == 0
    assert of(boxes(CAROL), uid) == {"a": "new"}


def test_the_receiver_expands_before_the_copy_has_come_to_the_senders_set() -> None:
    uid = say(ALICE, BOB, session=OPEN)
    assert expand(BOB, ALICE, uid, put={"a": "1"}).status == 0
    assert EarlyChange.objects.using("set1").count() == 1
    exchanged()
    assert of(boxes(ALICE), uid) == of(boxes(BOB), uid) == {"a": "1"}
    assert EarlyChange.objects.using("set1").count() == 0


def test_a_message_that_cannot_be_looked_for_now_is_not_said_to_be_unknown() -> None:
    uid = say(ALICE, BOB, session=OPEN)
    with away("set2"):
        assert expand(BOB, ALICE, uid, put={"a": "1"}).status == AckStatus.BUSY
    assert expand(BOB, ALICE, uid, put={"a": "1"}).status == 0


def test_what_was_put_while_the_slot_moved_is_there_at_the_new_home() -> None:
    uid = say(CAROL, ALICE, session=OPEN)
    on_its_way = begin(topology.slot("1", ALICE), "set2")
    slot_moves._copy_page(on_its_way, 1)
    on_its_way.save()
    expand(CAROL, ALICE, uid, put={"a": "1"})
    expand(CAROL, ALICE, uid, put={"b": "2"}, options=FROM_SERVER)
    finish_moves()
    topology.topology.renew()
    assert of(boxes(ALICE, "set2"), uid) == {"a": "1", "b": "2"}


def test_what_the_server_puts_is_not_shown_to_the_sender_but_is_there_for_him() -> None:
    uid = say(ALICE, BOB, session=OPEN)
    exchanged()
    sent = expand(ALICE, BOB, uid, put={"a": "1"}, options=FROM_SERVER)
    assert sent.status == 0 and not any(row.sync for row in sent.rows)
    exchanged()
    assert of(boxes(ALICE), uid) == of(boxes(BOB), uid) == {"a": "1"}
    assert [each.msgId for each in boxes(ALICE)] == [uid]
    assert [each.msgId for each in boxes(BOB)] == [uid, sent.uid]
    move(ALICE, "set2")
    exchanged()
    assert [each.msgId for each in boxes(ALICE)] == [uid]
    assert of(boxes(ALICE), uid) == {"a": "1"}


def test_the_server_api_reads_the_values_of_its_own_app() -> None:
    uid = say(ALICE, CAROL, session=OPEN)
    expand(ALICE, CAROL, uid, put={"a": "1"})

    is_copy, values = read_values(uid, "set1")
    assert (is_copy, values["a"]["v"]) == (False, "1")
    assert abs(values["a"]["ts"] - log.now()) < 60_000
    assert read_values(uid, "set1", tenant=2) is None


def read_values(uid: str, server_set: str, tenant: int = 1) -> Any:
    payload = msgpack.packb(uid)
    return msgpack.unpackb(ask("", "readExpansion", payload, tenant=tenant, server_set=server_set).payload)


def test_a_set_says_whether_what_it_knows_is_a_copy_which_may_lag_behind() -> None:
    uid = say(BOB, ALICE, session=OPEN)
    exchanged()
    expand(BOB, ALICE, uid, put={"a": "1"})
    (first, other) = (read_values(uid, topology.home(1, who)) for who in (ALICE, BOB))
    assert (first[0], first[1]["a"]["v"], other[0]) == (False, "1", True)


def test_a_row_that_another_version_let_through_stops_no_log(sets: dict[str, Log]) -> None:
    uid = say(BOB, ALICE)
    for method, payload in (("recallMsg", b"x"), ("ppMsgP", b"x"), ("updRTime", b"x")):
        row = changes.Row("r", 1, 1, BOB, ALICE, method, up(payload, expansions.CLASS).SerializeToString())

        def work(connection: Any, row: changes.Row = row) -> None:
            changes.effect(row)(connection, log.Place(1, 1, bytes(128)))

        sets["set1"].run(work, within=1)
    exchange.run("set2")
    assert [each.msgId for each in boxes(ALICE)] == [uid]


keys = st.sampled_from("abc")
change = st.builds(
    Change,
    st.just("u"),
    st.dictionaries(keys, st.sampled_from("xyz"), max_size=2),
    st.frozensets(keys, max_size=2),
    st.booleans(),
)


@given(st.lists(change, max_size=5))
def test_changes_that_come_again_in_their_order_change_nothing_more(made: list[Change]) -> None:
    def after(before: Values) -> Values:
        for at, each in enumerate(made, 1):
            before = applied(before, each, at)
        return before

    once = after({})
    assert after(once) == once


@given(st.permutations([(1, "x"), (2, "y"), (3, "z")]))
def test_of_values_that_come_in_whatever_order_the_last_one_made_stays(made: list[tuple[int, str]]) -> None:
    values: Values = {}
    for at, value in made:
        values = applied(values, Change("u", {"a": value}, frozenset(), False), at)
    assert values == {"a": {"v": "z", "ts": 3}}
