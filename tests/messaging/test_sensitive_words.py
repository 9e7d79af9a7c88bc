"""Sensitive words of tenants, and what becomes of messages that have them in conversations of every kind."""

import json
from itertools import count, islice
from typing import Any

import msgpack
import pytest
import redis

from apps.messaging import chatrooms, exchange, log, sensitive_words, tasks
from apps.messaging.log import Log
from apps.messaging.models import SensitiveWord, WordList
from apps.messaging.sensitive_words import WORDS_MAX, Full, Sensitive, sensitive_type, words
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, JOINED, Answer, Batch, Hint, Request, Row
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus
from tests.messaging.asking import reply
from tests.messaging.conftest import SETS, user, users
from tests.messaging.sending import UIDS, Sent, boxes, exchanged, group_of, history, join, send, stored, up

ALICE, CAROL = users("set1", 2)
BOB = user("set2")
GROUP, ROOM = group_of("set2"), group_of("set1")
MINE, THEIRS, NOBODYS = (
    1,
    *islice((n for n in count(2) if topology.slot(str(n), CAROL) % 2 == 0), 2),
)  # tenants


@pytest.fixture(autouse=True)
def ready(sets: dict[str, Log], redis_client: redis.Redis) -> None:
    add(("damn", "****"), ("Spam", ""))


def add(*wanted: tuple[str, str], tenant: int = MINE) -> int:
    """As soon as workers have looked."""
    left = sensitive_words.add(tenant, [Sensitive(*each) for each in wanted])
    words.renew()
    return left


def remove(*unwanted: str, tenant: int = MINE) -> None:
    sensitive_words.remove(tenant, unwanted)
    words.renew()


def said(text: str, **facts: Any) -> im.UpStreamMessage:
    return up({"content": text, "extra": "damn"}, **facts)


def contents(messages: list[im.DownStreamMessage]) -> list[str]:
    return [json.loads(each.content)["content"] for each in messages]


def shown(row: Row) -> Any:
    return json.loads(im.UpStreamMessage.FromString(row.up).content)["content"]


def flags(server_set: str, sent: Sent, *, copy: bool = False) -> int:
    sql = "SELECT flags FROM messaging_message WHERE uid = %s AND inbox <> %s"
    ((found,),) = log.of(server_set).read(sql, (sent.uid, copy))
    return int(found)


def discussion() -> str:
    made = reply(im.CreateDiscussionOutput, ALICE, "crDiz", im.CreateDiscussionInput(name="d")).id
    reply(im.ChannelInfoOutput, ALICE, "invtDiz", im.ChannelInvitationInput(users=[BOB]), target=made)
    exchanged()
    return made


def conversation(method: str) -> str:
    """The id of one of this kind in which Alice may speak, Bob beside her."""
    if method == "ppMsgP":
        return BOB
    if method == "pgMsgP":
        join(GROUP, ALICE, BOB)
        return GROUP
    if method == "pdMsgP":
        return discussion()
    chatrooms.create("set1", MINE, ROOM)
    return ROOM


def test_in_every_conversation_a_word_is_refused_or_replaced() -> None:
    for method in ("ppMsgP", "pgMsgP", "pdMsgP", "chatMsg"):
        target = conversation(method)
        before = stored()
        refused = send(ALICE, method, target, said("buy SPAM here"), options=JOINED)
        assert (refused.status, refused.rows, stored()) == (AckStatus.SENSITIVE_WORD, [], before)
        replaced = send(ALICE, method, target, said("Damn, spa m"), options=JOINED)
        clean = send(ALICE, method, target, said("dam n"), options=JOINED)
        assert [shown(row) for sent in (replaced, clean) for row in sent.rows] == ["****, spa m", "dam n"]
        told = [row.status for sent in (replaced, clean) for row in sent.rows]
        assert told == [AckStatus.SENSITIVE_WORD_REPLACED, 0]
        kept = [flags(topology.home(MINE, target), sent) for sent in (replaced, clean)]
        assert [sensitive_type(each) for each in kept] == [2, 0]


def test_the_sender_and_the_receiver_read_the_replaced_text_and_no_other() -> None:
    for method, asked in (("ppMsgP", "qryPMsg"), ("pgMsgP", "qryGMsg")):
        target = conversation(method)
        send(ALICE, method, target, said("Oh damn"))
        exchanged()
        for reader in (ALICE, BOB):
            peer = ALICE if (method, reader) == ("ppMsgP", BOB) else target
            assert contents(history(reader, peer, asked)) == ["Oh ****"]
    assert contents(boxes(ALICE)) == contents(boxes(BOB)) == ["Oh ****"] * 2


def test_every_set_and_every_gateway_that_reads_the_log_later_knows_that_words_were_replaced() -> None:
    sent = send(ALICE, "ppMsgP", BOB, said("damn"))
    exchange.run("set1")
    assert sensitive_type(flags("set1", sent, copy=True)) == 2
    for name in SETS:
        asked = Request(0, "", "readFeed", name, msgpack.packb(0))
        feed = Hint.unpack(tasks.QUERY_METHODS["readFeed"](name, asked).payload)
        told = {row.uid: row.status for row in feed.rows}
        assert told[sent.uid] == AckStatus.SENSITIVE_WORD_REPLACED


def test_a_status_message_is_shown_replaced_or_not_at_all() -> None:
    assert send(ALICE, "ppMsgS", BOB, said("spam")).status == AckStatus.SENSITIVE_WORD
    (row,) = send(ALICE, "ppMsgS", BOB, said("damn")).rows
    assert shown(row) == "****"
    typing = up({"typingContentType": "damn"}, "RC:TypSts")
    (row,) = send(ALICE, "ppMsgS", BOB, typing).rows
    assert row.up == typing.SerializeToString()


def test_of_a_batch_only_the_messages_of_clients_whose_tenant_has_such_a_word_are_touched() -> None:
    add(("damn", ""), tenant=THEIRS)
    asked = [
        (MINE, "fine", 0),
        (MINE, "spam", 0),
        (THEIRS, "spam", 0),
        (THEIRS, "damn", 0),
        (MINE, "damn", 0),
        (NOBODYS, "damn", 0),
        (MINE, "damn, spam", FROM_SERVER),
    ]
    requests = [
        Request(tenant, ALICE, "ppMsgP", CAROL, said(text).SerializeToString(), UIDS.next(0), options)
        for tenant, text, options in asked
    ]
    answers: list[Answer] = []
    batch = Batch("set1", "tests", 1, 0, 1 << 53, requests)
    hint, _ = tasks._store(batch, list(enumerate(requests)), answers)
    refused = {answer.place: answer.status for answer in answers}
    assert refused == {1: AckStatus.SENSITIVE_WORD, 3: AckStatus.SENSITIVE_WORD}
    became = [(row.tenant, shown(row), row.status) for row in hint.rows]
    assert became == [
        (MINE, "fine", 0),
        (THEIRS, "spam", 0),
        (MINE, "****", AckStatus.SENSITIVE_WORD_REPLACED),
        (NOBODYS, "damn", 0),
        (MINE, "damn, spam", 0),
    ]


def test_a_message_that_gets_too_big_by_it_is_refused() -> None:
    add(("a", "x" * 32))
    fits, grows = "b" * (MAX_CONTENT - 100), "a" * (MAX_CONTENT // 30)
    assert send(ALICE, "ppMsgP", BOB, said(fits)).status == 0
    before = stored()
    assert send(ALICE, "ppMsgP", BOB, said(grows)).status == AckStatus.TOO_BIG
    nested = im.UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b"[" * 100_000)
    assert send(ALICE, "ppMsgP", BOB, nested).status == AckStatus.MALFORMED
    assert stored() == before


def test_a_message_that_was_stored_is_not_judged_by_words_that_came_later() -> None:
    request = Request(MINE, ALICE, "ppMsgP", CAROL, said("new").SerializeToString(), UIDS.next(0))
    batch = Batch("set1", "tests", 1, 0, 1 << 53, [request])
    tasks.deliver(batch.pack())
    add(("new", ""))
    known = log.of("set1").places([request.uid])
    assert request.uid in known
    tasks.deliver(Batch("set1", "tests", 1, 1, 1 << 53, [request]).pack())
    assert contents(boxes(CAROL)) == ["new"]


# --- the words themselves


def test_words_are_the_same_in_any_case_and_the_last_one_counts() -> None:
    assert add(("DAMN", "d**n")) == WORDS_MAX - 2
    assert sensitive_words.listed(MINE) == [("DAMN", "d**n"), ("Spam", "")]
    remove("sPAM", "unknown")
    assert sensitive_words.listed(MINE) == [("DAMN", "d**n")]
    assert send(ALICE, "ppMsgP", BOB, said("spam damn")).status == 0
    assert contents(boxes(BOB)) == ["spam d**n"]


def test_only_a_tenant_whose_words_changed_is_read_and_made_ready_again(
    django_assert_num_queries: Any,
) -> None:
    add(("hello", ""), tenant=THEIRS)
    with django_assert_num_queries(1):
        assert words.renew() is words.current
    before = dict(words.current.by_tenant)
    assert "search" not in before[THEIRS].__dict__  # nobody has asked for it yet
    add(("new", ""))
    after = words.current.by_tenant
    assert after[THEIRS] is before[THEIRS] and after[MINE] is not before[MINE]
    remove("damn", "spam", "new")
    assert words.current.by_tenant[THEIRS] is before[THEIRS]
    assert MINE not in words.current.by_tenant
    assert not WordList.objects.filter(tenant=MINE).exists()


def test_more_words_than_a_tenant_may_have_are_not_added_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitive_words, "WORDS_MAX", 3)
    with pytest.raises(Full) as full:
        add(("one", ""), ("two", ""))
    assert full.value.left == 1
    assert [each.word for each in sensitive_words.listed(MINE)] == ["damn", "Spam"]
    words.renew()
    assert send(ALICE, "ppMsgP", BOB, said("one")).status == 0
    assert add(("three", "3"), ("damn", "-")) == 0
    assert add(("three", "III")) == 0  # not another one
    assert SensitiveWord.objects.filter(tenant=MINE).count() == 3
