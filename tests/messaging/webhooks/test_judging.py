"""The pre-message hook: what is refused is nowhere, what waits for an answer keeps nobody else waiting."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import current_app
from channels.layers import get_channel_layer
from django.conf import settings as config

from apps.messaging import tasks
from apps.messaging.log import Log
from apps.messaging.webhooks import judging
from apps.messaging.webhooks.judging import AT_ONCE, Judge
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, SOURCE_OF, Batch, Request
from apps.routing.lanes import Lanes, Pending
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.packets import AckStatus
from imcloud.celery import app  # noqa: F401  queues are its business
from tests.conftest import wait_for
from tests.messaging.conftest import text, users
from tests.messaging.sending import UIDS, group_of, up
from tests.messaging.webhooks.conftest import change, tenant
from tests.messaging.webhooks.receiver import Answer, Call, Receiver

ALICE, BOB, CAROL = users("set1", 3)
GATEWAY = "gateway.77"
YES: Answer = (200, {}, b'{"pass": 1}')
NO: Answer = (200, {}, b'{"pass": 0}')
BUSY, SENSITIVE = AckStatus.BUSY, AckStatus.SENSITIVE_WORD


class Gateway:
    """What one is told of messages for which there is no row."""

    def __init__(self) -> None:
        self._layer = get_channel_layer()
        self._client = redis.Redis.from_url(config.REDIS_URL)
        self._listening = self._client.pubsub()
        self._listening.psubscribe(f"*__group__{GATEWAY}")
        assert self._listening.get_message(timeout=5.0) is not None
        self._told: dict[str, int] = {}

    def told(self) -> dict[str, int]:
        """uid -> status"""
        while (message := self._listening.get_message(timeout=0.01)) is not None:
            for uid, status, _ in self._layer.deserialize(message["data"])["answers"]:
                assert uid not in self._told
                self._told[uid] = status
        return self._told

    def close(self) -> None:
        self._listening.close()
        self._client.close()


@pytest.fixture
def gateway(redis_client: object) -> Iterator[Gateway]:
    made = Gateway()
    yield made
    made.close()


@pytest.fixture
def judge(sets: dict[str, Log], gateway: Gateway, private: None) -> Iterator[Judge]:
    made = Judge("set1", tasks._verdicts, tasks._append, tasks._status_row)
    yield made
    made.close()


def message(sender: str, target: str, content: str = "x", **facts: Any) -> Request:
    method, classname = facts.pop("method", "ppMsgP"), facts.pop("classname", "RC:TxtMsg")
    body = up({"content": content}, classname).SerializeToString()
    return Request(facts.pop("tenant", 1), sender, method, target, body, UIDS.next(0), **facts)


def batch(*requests: Request) -> Batch:
    return Batch("set1", GATEWAY, 1, 0, time.time_ns() // 1_000_000 + 10_000, requests)


def stored(sets: dict[str, Log]) -> list[str]:
    """The contents of what is in the log, in its order."""
    rows = sets["set1"].read("SELECT up FROM messaging_message WHERE kind > 0 ORDER BY seq", ())
    return [json.loads(UpStreamMessage.FromString(up).content)["content"] for (up,) in rows]


def test_what_the_tenants_server_refuses_is_nowhere_and_its_sender_learns_why(
    judge: Judge, receiver: Receiver, gateway: Gateway, sets: dict[str, Log]
) -> None:
    tenant(judge_url=receiver.url("/judge"))
    receiver.answer = lambda call: NO if "bad" in call.form["content"] else YES
    good = message(ALICE, BOB, "good", options=SOURCE_OF["Android"])
    bad = message(ALICE, BOB, "bad")
    judge.take(batch(good, bad))
    wait_for(lambda: gateway.told() and stored(sets), 5, "nothing came of it")
    assert gateway.told() == {bad.uid: SENSITIVE}
    assert stored(sets) == ["good"]
    form = receiver.calls[0].form
    assert abs(int(form.pop("msgTimeStamp")) - time.time() * 1000) < 20_000
    assert form == {
        "appKey": "key1",
        "fromUserId": ALICE,
        "targetId": BOB,
        "msgType": "RC:TxtMsg",
        "content": '{"content": "good"}',
        "channelType": "PERSON",
        "messageId": good.uid,
        "os": "Android",
    }
    judge.take(batch(good, bad))  # the batch comes twice: nobody is asked again about what was refused
    time.sleep(0.1)
    assert gateway._told.pop(bad.uid) == SENSITIVE
    assert gateway.told().get(bad.uid) == SENSITIVE
    assert stored(sets) == ["good"]
    assert sum("bad" in call.form["content"] for call in receiver.calls) == 1


def test_content_that_the_tenants_server_gives_back_is_what_is_stored(
    judge: Judge, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(judge_url=receiver.url())
    answers = iter(
        (
            {"pass": 2, "content": json.dumps({"content": "***"}), "pushContent": "softer"},
            {"pass": "1", "content": {"content": "an object"}},
        )
    )
    receiver.answer = lambda call: (200, {}, json.dumps(next(answers)).encode())
    judge.take(batch(message(ALICE, BOB, "one"), message(ALICE, BOB, "two")))
    wait_for(lambda: len(stored(sets)) == 2, 5, "not stored")
    assert stored(sets) == ["***", "an object"]
    (first, _) = sets["set1"].read("SELECT up FROM messaging_message WHERE kind > 0 ORDER BY seq", ())
    assert UpStreamMessage.FromString(first[0]).pushText == "softer"


@pytest.mark.parametrize("is_open", [True, False], ids=["delivered", "refused"])
def test_without_a_good_answer_the_tenants_choice_holds(
    judge: Judge, receiver: Receiver, gateway: Gateway, sets: dict[str, Log], is_open: bool
) -> None:
    tenant(judge_url=receiver.url(), judge_open=is_open, judge_timeout=300)
    ended = threading.Event()
    answers: dict[str, Answer] = {
        "status": (500, {}, b'{"pass": 1}'),
        "redirect": (302, {"Location": receiver.url("/else")}, b""),
        "empty": 200,
        "no JSON": (200, {}, b"pass"),
        "no object": (200, {}, b"[1]"),
        "no verdict": (200, {}, b'{"content": "{}"}'),
        "unknown verdict": (200, {}, b'{"pass": 7}'),
        "content of no object": (200, {}, b'{"pass": 1, "content": "text"}'),
    }

    def answer(call: Call) -> Answer:
        what = json.loads(call.form["content"])["content"]
        if what == "late":
            ended.wait(10)
        return answers.get(what, YES)

    receiver.answer = answer
    said = [*answers, "late"]
    receivers = users("set1", len(said) + 1)[1:]
    requests = [message(ALICE, to, what) for to, what in zip(receivers, said, strict=True)]
    judge.take(batch(*requests))
    if is_open:
        wait_for(lambda: len(stored(sets)) == len(said), 5, "not delivered")
        assert sorted(stored(sets)) == sorted(said)
        assert gateway.told() == {}
    else:
        wait_for(lambda: len(gateway.told()) == len(said), 5, "not refused")
        assert gateway.told() == {r.uid: BUSY for r in requests}
        assert stored(sets) == []
    ended.set()


def test_a_senders_messages_to_one_conversation_stay_in_order_and_others_do_not_wait(
    judge: Judge, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(judge_url=receiver.url(), judge_classes="RC:TxtMsg")
    released = threading.Event()

    def answer(call: Call) -> Answer:
        if "slow" in call.form["content"]:
            released.wait(10)
        return YES

    receiver.answer = answer
    judge.take(
        batch(
            message(ALICE, BOB, "slow"),
            message(ALICE, BOB, "behind"),
            message(ALICE, BOB, "not asked about", classname="RC:ImgMsg"),
            message(ALICE, CAROL, "elsewhere"),
            message(BOB, ALICE, "the other way"),
        )
    )
    wait_for(lambda: len(stored(sets)) == 2, 5, "the others wait")
    assert sorted(stored(sets)) == ["elsewhere", "the other way"]
    released.set()
    wait_for(lambda: len(stored(sets)) == 5, 5, "not stored")
    assert stored(sets)[2:] == ["slow", "behind", "not asked about"]
    assert len(receiver.calls) == 4


def test_a_server_that_hangs_keeps_no_other_tenants_messages(
    judge: Judge, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(1, judge_url=receiver.url("/hangs"))
    tenant(2, judge_url=receiver.url("/works"))
    released = threading.Event()
    receiver.answer = lambda call: YES if call.path == "/works" or released.wait(10) else NO
    judge.take(batch(*(message(ALICE, to, "one") for to in users("set1", 2 * AT_ONCE))))
    wait_for(lambda: len(receiver.calls) == AT_ONCE, 5, "not asked")
    theirs = [name for n in range(40) if topology.home(2, name := f"t{n}") == "set1"]
    judge.take(batch(*(message("someone", to, "two", tenant=2) for to in theirs)))
    wait_for(lambda: len(stored(sets)) == len(theirs), 5, "they wait")
    assert set(stored(sets)) == {"two"}
    assert sum(call.path == "/hangs" for call in receiver.calls) == AT_ONCE
    released.set()
    wait_for(lambda: len(stored(sets)) == len(theirs) + 2 * AT_ONCE, 5, "not judged")


def test_a_server_that_never_answers_well_is_not_asked_for_a_while(
    judge: Judge, receiver: Receiver, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant(judge_url=receiver.url())
    receiver.answer = lambda call: 500
    judge.take(batch(*(message(ALICE, BOB, str(n)) for n in range(judging.BREAK_AFTER + 10))))
    wait_for(lambda: len(stored(sets)) == judging.BREAK_AFTER + 10, 5, "not delivered")
    assert len(receiver.calls) == judging.BREAK_AFTER
    judge._servers[1].open_until = 0.0
    receiver.answer = lambda call: YES
    judge.take(batch(message(ALICE, BOB), message(ALICE, BOB)))
    wait_for(lambda: len(stored(sets)) == judging.BREAK_AFTER + 12, 5, "not delivered")
    assert len(receiver.calls) == judging.BREAK_AFTER + 2


def test_mallory_is_refused_before_anybody_is_asked(
    judge: Judge, receiver: Receiver, gateway: Gateway, sets: dict[str, Log]
) -> None:
    tenant(judge_url=receiver.url())
    stranger = message("mallory", group_of("set1"), method="pgMsgP")
    garbage = message(ALICE, BOB)._replace(payload=b"\xff")
    judge.take(batch(stranger, garbage))
    assert gateway.told() == {stranger.uid: AckStatus.NOT_IN_GROUP, garbage.uid: AckStatus.MALFORMED}
    assert receiver.calls == []


def test_what_comes_too_late_or_too_many_is_refused(
    judge: Judge, receiver: Receiver, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant(judge_url=receiver.url())
    late = message(ALICE, BOB)
    judge.take(Batch("set1", GATEWAY, 1, 0, 1, [late]))
    monkeypatch.setattr(judging, "HELD_MAX", 1)
    many = [message(ALICE, BOB), message(ALICE, BOB)]
    judge.take(batch(*many))
    assert gateway.told() == {r.uid: BUSY for r in (late, *many)}
    assert receiver.calls == []


def test_a_worker_of_messages_hands_on_what_is_to_be_judged_and_stores_the_rest(
    sets: dict[str, Log], judge: Judge, receiver: Receiver, redis_client: object
) -> None:
    tenant(1, judge_url=receiver.url(), judge_kinds="PERSON")
    tenant(2)
    receiver.answer = lambda call: YES
    theirs = next(name for n in range(40) if topology.home(2, name := f"t{n}") == "set1")
    tasks.deliver(
        batch(
            message(ALICE, BOB, "held"),
            message(ALICE, BOB, "by the server", options=FROM_SERVER),
            message("someone", theirs, "another tenant's", tenant=2),
        ).pack()
    )
    assert stored(sets) == ["by the server", "another tenant's"]
    with current_app.connection_for_read() as connection:
        queue = connection.SimpleQueue("set1.webhooks", accept=["msgpack"])
        (data,), *_ = queue.get(timeout=5).payload
        queue.close()
    judge.take(Batch.unpack(data))
    wait_for(lambda: "held" in stored(sets), 5, "not judged")
    change(1, judge_url="")
    tasks.deliver(batch(message(ALICE, BOB, "not held any more")).pack())
    assert stored(sets)[-1] == "not held any more"


def test_a_gateway_answers_for_what_was_refused_once() -> None:
    answered: list[int] = []
    lanes = Lanes.__new__(Lanes)
    request = Request(1, ALICE, "ppMsgP", BOB, text(), "uid-1")
    pending = Pending(1, request, lambda pending, answer: answered.append(answer.status), None, "")
    lanes._uncommitted = {"uid-1": pending}
    lanes.judged([("uid-2", SENSITIVE, 1), ("uid-1", SENSITIVE, 1)])
    lanes.judged([("uid-1", BUSY, 1)])
    assert answered == [SENSITIVE]
