"""Telling: in order, again when it failed, at least once; nobody waits for another's receiver."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pytest

from apps.accounts.signatures import sign
from apps.messaging import log
from apps.messaging.log import Entry, Log
from apps.messaging.webhooks import deliveries, dispatcher, routing, sending
from apps.messaging.webhooks.deliveries import ATTEMPTS, State
from apps.messaging.webhooks.dispatcher import BREAK_AFTER, CONCURRENCY, Dispatcher
from apps.routing import databases, topology
from tests.conftest import wait_for
from tests.messaging.conftest import entry, users
from tests.messaging.sending import say
from tests.messaging.webhooks.conftest import SECRET, change, rows, settle, tenant
from tests.messaging.webhooks.receiver import Answer, Call, Receiver

ALICE, BOB, CAROL, DAVE = users("set1", 4)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two tries."""
    monkeypatch.setattr(dispatcher, "RETRY_AFTER", (0,) * (ATTEMPTS - 1))


def contents(receiver: Receiver) -> list[str]:
    return [call.form["content"] for call in receiver.calls]


def until(told: Dispatcher, condition: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + 10
    while not condition():
        told.turn()
        told.wait(0.01)
        assert time.monotonic() < give_up_at, "it does not come to that"


def drain(told: Dispatcher, number: int, receiver: Receiver) -> None:
    """Until so many calls have come, and nothing is out."""
    until(told, lambda: len(receiver.calls) >= number and not told.out)


def test_a_receiver_that_fails_in_the_middle_gets_a_conversation_in_order_all_the_same(
    set1: Dispatcher, receiver: Receiver, at_once: None
) -> None:
    tenant(messages_url=receiver.url())
    failures = iter([200, 200, 500, 503, 200])
    receiver.answer = lambda call: next(failures, 200)
    for number in range(6):
        say(ALICE, BOB, number)
    drain(set1, 8, receiver)
    assert contents(receiver) == ["0", "1", "2", "2", "2", "3", "4", "5"]
    assert rows("state, attempts") == [(State.DELIVERED, n) for n in (1, 1, 3, 1, 1, 1)]
    (tries,) = rows("tries")[2]
    assert [line.split("Z ")[1].split(",")[0] for line in tries.splitlines()] == [
        "HTTP 500",
        "HTTP 503",
        "HTTP 200",
    ]


def test_what_nobody_takes_is_a_dead_letter_after_its_tries_and_the_next_goes_on(
    set1: Dispatcher, receiver: Receiver, at_once: None
) -> None:
    tenant(messages_url=receiver.url())
    receiver.answer = lambda call: 500 if call.form["content"] == '"poison"' else 200
    say(ALICE, BOB, "poison")
    say(ALICE, BOB, "next")
    drain(set1, ATTEMPTS + 1, receiver)
    assert rows("state, attempts") == [(State.DEAD, ATTEMPTS), (State.DELIVERED, 1)]
    assert contents(receiver) == ['"poison"'] * ATTEMPTS + ['"next"']
    assert {call.headers["x-delivery-id"] for call in receiver.calls[:ATTEMPTS]} == {rows("uid")[0][0]}


def test_a_failed_try_is_not_repeated_before_its_time_and_others_go_on(
    set1: Dispatcher, receiver: Receiver
) -> None:
    tenant(messages_url=receiver.url())
    receiver.answer = lambda call: 500 if call.form["toUserId"] == BOB else 200
    say(ALICE, BOB, "stuck")
    say(ALICE, BOB, "behind")
    say(ALICE, CAROL, "passes")
    settle(set1)
    assert sorted(contents(receiver)) == ['"passes"', '"stuck"']
    (due,) = rows("due")[0]
    assert 0 < due - log.now() <= deliveries.RETRY_AFTER[0]


def test_redirects_are_not_followed_and_are_no_success(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url())
    receiver.answer = lambda call: (302, {"Location": receiver.url("/else")}, b"")
    say(ALICE, BOB)
    settle(set1)
    assert [call.path for call in receiver.calls] == ["/hook"]
    assert rows("state") == [(State.WAITING,)]


def test_calls_are_signed_and_keep_the_urls_own_query(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url("/a/b?room=1"))
    say(ALICE, BOB)
    settle(set1)
    (call,) = receiver.calls
    query = call.query
    assert (call.path, query["room"], query["appKey"]) == ("/a/b", "1", "key1")
    assert query["signTimestamp"] == query["timestamp"]
    assert abs(int(query["timestamp"]) - log.now()) < 10_000
    assert query["signature"] == sign(SECRET, query["nonce"], query["signTimestamp"])


@pytest.fixture
def slow(receiver: Receiver) -> Iterator[threading.Event]:
    """Calls to /slow are not answered before this is set."""
    released = threading.Event()

    def answer(call: Call) -> Answer:
        if call.path == "/slow":
            released.wait(20)
        return 200

    receiver.answer = answer
    yield released
    released.set()


def theirs(number: int) -> Entry:
    """A message of tenant 2 that is at home in the first SET."""
    target = next(name for n in count(number * 100) if topology.slot("2", name := f"t{n}") % 2 == 0)
    return replace(entry("someone", target), tenant=2)


def test_one_tenants_slow_receiver_keeps_nobody_elses_waiting(
    set1: Dispatcher, receiver: Receiver, slow: threading.Event, sets: dict[str, Log]
) -> None:
    tenant(1, messages_url=receiver.url("/slow"))
    tenant(2, messages_url=receiver.url("/fast"))
    mine = [entry(ALICE, each) for each in users("set1", CONCURRENCY + 4)]
    sets["set1"].append(mine, within=1)
    until(set1, lambda: len(receiver.calls) == CONCURRENCY)
    other = [theirs(n) for n in range(20)]
    sets["set1"].append(other, within=1)
    until(set1, lambda: len(receiver.calls) == CONCURRENCY + 20)
    assert sum(call.path == "/slow" for call in receiver.calls) == CONCURRENCY
    slow.set()
    settle(set1)
    assert len({call.form["msgUID"] for call in receiver.calls}) == len(mine) + 20


def test_a_conversation_has_one_call_out_at_a_time(
    set1: Dispatcher, receiver: Receiver, slow: threading.Event, sets: dict[str, Log]
) -> None:
    tenant(1, messages_url=receiver.url("/slow"))
    sets["set1"].append([entry(ALICE, BOB), entry(BOB, ALICE), entry(ALICE, CAROL)], within=1)
    until(set1, lambda: len(receiver.calls) == 2)
    for _ in range(5):
        set1.turn()
    assert {frozenset((c.form["fromUserId"], c.form["toUserId"])) for c in receiver.calls} == {
        frozenset((ALICE, BOB)),
        frozenset((ALICE, CAROL)),
    }
    slow.set()
    settle(set1)
    assert len(receiver.calls) == 3


def test_a_receiver_that_answers_byte_by_byte_is_cut_off(
    set1: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending.post, "__defaults__", ((), 0.3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        tenant(messages_url=f"http://127.0.0.1:{server.getsockname()[1]}/")
        say(ALICE, BOB)
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not ended.wait(0.02):
                        connection.sendall(b"X-A: b\r\n")
                except OSError:
                    pass

        threading.Thread(target=drip, daemon=True).start()
        until(set1, lambda: rows("attempts") == [(1,)])
        ended.set()
    assert "timeout" in rows("tries")[0][0]


def test_a_receiver_that_fails_again_and_again_is_left_alone_and_found_when_it_is_back(
    set1: Dispatcher, receiver: Receiver, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "OPEN_FOR", 3600.0)
    tenant(messages_url=receiver.url())
    receiver.answer = lambda call: 500
    messages = [say(ALICE, each, n) for n, each in enumerate(users("set1", BREAK_AFTER + 5))]
    until(set1, lambda: len(receiver.calls) >= BREAK_AFTER and not set1.out)
    settle(set1)
    assert BREAK_AFTER <= len(receiver.calls) < BREAK_AFTER + CONCURRENCY  # those that were out already
    (its,) = set1._receivers.values()
    calls = len(receiver.calls)
    its.open_until = 0.0  # the time is over
    settle(set1)
    assert len(receiver.calls) == calls + 1  # one try, which fails
    receiver.answer = lambda call: 200
    its.open_until = 0.0
    until(set1, lambda: not its.failures and not any(state for (state,) in rows("1 - state")))
    assert {call.form["msgUID"] for call in receiver.calls[calls + 1 :]} == set(messages)


def test_while_a_receiver_is_known_to_be_away_no_try_counts(
    set1: Dispatcher, receiver: Receiver, at_once: None
) -> None:
    tenant(messages_url=receiver.url())
    receiver.close()  # nobody listens
    say(ALICE, BOB)
    set1._renew()
    (its,) = set1._receivers.values()
    its.failures = BREAK_AFTER
    for number in range(3):
        its.open_until = 0.0
        until(set1, lambda most=BREAK_AFTER + number: its.failures > most)  # type: ignore[misc]
    assert rows("state, attempts") == [(State.WAITING, 0)]
    assert len(rows("tries")[0][0].splitlines()) == 3


def test_another_url_is_tried_at_once(
    set1: Dispatcher, receiver: Receiver, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant(messages_url=receiver.url("/wrong"))
    receiver.answer = lambda call: 200 if call.path == "/right" else 500
    for each in users("set1", BREAK_AFTER):
        say(ALICE, each)
    until(set1, lambda: len(receiver.calls) >= BREAK_AFTER and not set1.out)
    change(messages_url=receiver.url("/right"))
    settle(set1)
    assert {state for (state,) in rows("state")} == {State.DELIVERED}


def test_a_tenant_without_webhooks_any_more_is_told_nothing(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url())
    say(ALICE, BOB)
    routing.catch_up("set1")
    change(messages_url="")
    settle(set1)
    assert receiver.calls == []


def test_what_a_dispatcher_had_taken_as_it_was_killed_another_one_tells_under_the_same_id(
    set1: Dispatcher, receiver: Receiver, slow: threading.Event
) -> None:
    tenant(messages_url=receiver.url("/slow"))
    uid = say(ALICE, BOB)
    assert rows("uid") == []
    routing.catch_up("set1")  # killed between the row and the try: it is there
    until(set1, lambda: len(receiver.calls) == 1)  # killed between the try and the note of it
    of = Log("set1")
    other = Dispatcher(of)
    slow.set()
    settle(other)
    other.close()
    of.close()
    assert [call.headers["x-delivery-id"] for call in receiver.calls] == [uid, uid]
    assert rows("state") == [(State.DELIVERED,)]


def test_the_one_who_dispatches_is_alone_and_another_takes_over_when_he_ends(
    sets: dict[str, Log], redis_client: object, private: None, receiver: Receiver
) -> None:
    tenant(messages_url=receiver.url())
    with psycopg.connect(databases.url("set1"), autocommit=True) as first:
        assert first.execute("SELECT pg_try_advisory_lock(%s)", (dispatcher.LOCK,)).fetchone() == (True,)
        dispatcher.tend("set1")
        say(ALICE, BOB)
        time.sleep(0.2)
        assert receiver.calls == []
    dispatcher.tend("set1")
    wait_for(lambda: receiver.calls, 10, "nobody took over")
    log.of("set1").read(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s",
        (dispatcher.LOCK,),
    )
    dispatcher._threads["set1"].join(5)
    assert not dispatcher._threads["set1"].is_alive()


def test_what_has_waited_for_a_day_is_given_up_and_what_ended_long_ago_is_forgotten(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log], settings: Any
) -> None:
    tenant(messages_url=receiver.url())
    for number in range(4):
        say(ALICE, BOB, number)
    routing.catch_up("set1")
    day = 24 * 3600_000
    ages = {0: day + 1000, 1: day - 60_000, 2: 8 * day, 3: 6 * day}
    for number, (id_,) in enumerate(rows("id")):
        made, state = log.now() - ages[number], number // 2
        sets["set1"].read(
            "UPDATE messaging_webhookdelivery SET made = %s, state = %s WHERE id = %s RETURNING id",
            (made, state, id_),
        )
    deliveries.sweep(sets["set1"])
    assert rows("state") == [(State.DEAD,), (State.WAITING,), (State.DELIVERED,)]
    assert "given up" in rows("tries")[0][0]
