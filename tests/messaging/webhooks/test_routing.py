"""What tenants' servers are told of messages: each once, with what it was; not what is not theirs."""

import json
import time

import pytest

from apps.messaging import exchange, slot_moves
from apps.messaging.log import Log
from apps.messaging.models import GROUP
from apps.messaging.webhooks import routing
from apps.messaging.webhooks.dispatcher import Dispatcher
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, SOURCE_OF, Batch, Request
from apps.routing.models import ServerSet, Slot, SlotMove
from tests.messaging.conftest import entry, users
from tests.messaging.sending import UIDS, group_of, join, say, send, up
from tests.messaging.webhooks.conftest import change, rows, settle, tenant
from tests.messaging.webhooks.receiver import Receiver

ALICE, BOB, CAROL = users("set1", 3)
FAR = users("set2", 1)[0]


def told(receiver: Receiver) -> list[str]:
    """The uids of the messages that were told, in the order in which they came."""
    return [call.form["msgUID"] for call in receiver.calls]


def test_a_message_is_told_with_all_that_it_was(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url())
    before = time.time_ns() // 1_000_000
    content = json.dumps({"content": "héllo & 100% =?+"}, ensure_ascii=False).encode()
    sent = send(ALICE, "ppMsgP", BOB, up(content, busChannel="c1"), options=SOURCE_OF["iOS"])
    settle(set1)
    (call,) = receiver.calls
    at = int(call.form["msgTimestamp"])
    assert before <= at <= time.time_ns() // 1_000_000
    assert call.form == {
        "fromUserId": ALICE,
        "toUserId": BOB,
        "objectName": "RC:TxtMsg",
        "content": content.decode(),
        "channelType": "PERSON",
        "msgTimestamp": str(at),
        "msgUID": sent.uid,
        "sensitiveType": "0",
        "source": "iOS",
        "busChannel": "c1",
    }
    assert call.headers["content-type"].startswith("application/x-www-form-urlencoded")
    assert call.headers["x-delivery-id"] == sent.uid


def test_members_of_a_directed_group_message_are_told(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url())
    group = group_of("set1")
    join(group, ALICE, BOB, CAROL)
    send(ALICE, "pgMsgP", group, up(toUserIds=[BOB]))
    settle(set1)
    (call,) = receiver.calls  # who came to the group is no message
    assert (call.form["channelType"], call.form["toUserId"]) == ("GROUP", group)
    assert json.loads(call.form["groupUserIds"]) == [BOB]


def test_what_the_server_itself_has_sent_is_told_only_if_it_wants_to_be(
    set1: Dispatcher, receiver: Receiver
) -> None:
    tenant(messages_url=receiver.url())
    send(ALICE, "ppMsgP", BOB, up(), options=FROM_SERVER)
    settle(set1)
    assert receiver.calls == []
    change(from_server=True)
    sent = send(ALICE, "ppMsgP", BOB, up(), options=FROM_SERVER)
    settle(set1)
    (call,) = receiver.calls
    assert (call.form["msgUID"], call.form["source"]) == (sent.uid, "Server")


def test_a_broadcast_is_never_told(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url(), from_server=True)
    assert send("admin", "sysMsg", "", up(), options=FROM_SERVER, server_set="set1").status == 0
    to_one = send("admin", "sysMsg", ALICE, up(), options=FROM_SERVER)
    settle(set1)
    assert told(receiver) == [to_one.uid]
    assert receiver.calls[0].form["channelType"] == "NOTIFY"


def test_status_messages_are_told_only_to_who_wants_them(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url())
    send(ALICE, "ppMsgS", BOB, up())
    change(status_messages=True)
    typing = send(ALICE, "ppMsgS", BOB, up(classname="RC:TypSts"))
    settle(set1)
    assert told(receiver) == [typing.uid]


def test_messages_from_before_a_tenant_wanted_them_are_not_told(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant()
    say(ALICE, BOB, "early")
    time.sleep(0.003)
    change(messages_url=receiver.url())
    late = say(ALICE, BOB, "late")  # before the first look at the log
    settle(set1)
    assert told(receiver) == [late]


def test_mallorys_server_is_told_nothing_of_another_tenants_messages(
    set1: Dispatcher, receiver: Receiver
) -> None:
    tenant(1)
    tenant(2, messages_url=receiver.url())
    say(ALICE, BOB)
    own = send(ALICE, "ppMsgP", BOB, up(), tenant=2, server_set="set1")
    settle(set1)
    assert told(receiver) == ([own.uid] if own.status == 0 else [])
    assert {number for (number,) in rows("tenant")} <= {2}


def test_a_refused_message_is_not_told(set1: Dispatcher, receiver: Receiver) -> None:
    tenant(messages_url=receiver.url())
    assert send(ALICE, "pgMsgP", group_of("set1"), up()).status != 0
    settle(set1)
    assert receiver.calls == []


def test_many_messages_are_read_in_pages_and_told_once_in_order(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "SCANNED", 7)
    tenant(messages_url=receiver.url())
    entries = [entry(ALICE, BOB) for _ in range(60)]
    sets["set1"].append(entries[:30], within=1)
    settle(set1)
    sets["set1"].append(entries[30:], within=1)
    settle(set1)
    assert told(receiver) == [each.uid for each in entries]


def test_a_copy_in_the_senders_set_is_not_told_a_second_time(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(messages_url=receiver.url())
    group = group_of("set1")
    join(group, ALICE, FAR)
    private = say(FAR, BOB)
    in_group = say(FAR, group, method="pgMsgP")
    exchange.run("set2")
    assert sets["set2"].read("SELECT count(*) FROM messaging_message WHERE NOT inbox", ())[0][0] >= 2
    for name in sets:
        routing.catch_up(name)
    assert {uid for (uid,) in rows("uid")} == {private, in_group}
    assert rows("uid", "set2") == []


def test_what_moves_with_its_slot_is_told_once_and_in_order_wherever_it_was_read(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(messages_url=receiver.url())
    receiver.answer = lambda call: 503
    first = say(ALICE, BOB, 1)
    settle(set1)  # it waits for its next try
    second = say(ALICE, BOB, 2)  # nobody has read it as the slot goes
    move_slot(BOB, "set2")
    assert [uid for (uid,) in rows("uid", "set2")] == [first, second]
    assert rows("uid") == []
    third = say(ALICE, BOB, 3)
    receiver.answer, receiver.calls = (lambda call: 200), []
    sets["set2"].run(lambda c: c.execute("UPDATE messaging_webhookdelivery SET due = 0"), within=1)
    of = Log("set2")
    set2 = Dispatcher(of)
    settle(set2)
    settle(set1)
    assert told(receiver) == [first, second, third]
    set2.close()
    of.close()


def test_a_set_does_not_tell_what_has_left_it(
    set1: Dispatcher, receiver: Receiver, sets: dict[str, Log]
) -> None:
    tenant(messages_url=receiver.url())
    say(ALICE, BOB)
    routing.catch_up("set1")
    move_slot(BOB, "set2", until=SlotMove.Step.CLEAN)
    assert len(rows("uid")) == 1  # still there
    settle(set1)
    assert receiver.calls == []


def move_slot(resource: str, to: str, until: str = SlotMove.Step.DONE) -> None:
    held = Slot.objects.get(number=topology.slot("1", resource))
    move = SlotMove.objects.create(
        cluster=held.cluster,
        number=held.number,
        source=held.server_set,
        destination=ServerSet.objects.get(name=to),
    )
    for _ in range(200):
        if slot_moves.step(move.pk).step == until:
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the slot does not move")
    topology.topology.renew()


def test_a_log_that_nobody_listens_to_is_not_read(sets: dict[str, Log]) -> None:
    tenant()
    say(ALICE, BOB)
    assert not routing.route(sets["set1"])
    assert sets["set1"].read("SELECT count(*) FROM messaging_webhookcursor", ()) == [(0,)]


@pytest.mark.parametrize("platform", ["iOS", "Android", "Web", "MiniProgram", "PC", "HarmonyOS"])
def test_a_batch_keeps_what_its_messages_were_sent_with(platform: str) -> None:
    request = Request(1, ALICE, "ppMsgP", BOB, b"", UIDS.next(GROUP), SOURCE_OF[platform])
    (back,) = Batch.unpack(Batch("set1", "g", 1, 0, 0, [request]).pack()).requests
    assert back.options == SOURCE_OF[platform]
