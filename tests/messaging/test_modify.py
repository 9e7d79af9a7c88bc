"""Messages that get other content: in both SETs of a conversation, and as v5 asks for them."""

import uuid
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from apps.messaging import exchange, groups, log, modifications
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, group, modify
from apps.messaging.models import DIRECTED, GROUP, RECALLED
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import home
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import SETS, entry, pulled, user, users

ALICE, BOB = user("set1"), user("set2")
CAROL = users("set2", 2)[1]
TEXT = '{"content":"new"}'


@pytest.fixture(autouse=True)
def logs(sets: dict[str, Log]) -> dict[str, Log]:
    return sets


def store(*entries: Any) -> None:
    for each in entries:
        assert isinstance(each, Entry), each
        log.of(home(1, each.target)).append([each], within=1)
    for name in SETS:
        exchange.run(name)


def send(sender: str, target: str, **facts: Any) -> str:
    plain = im.UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b"{}").SerializeToString()
    sent = replace(entry(sender, target, plain), **facts)
    store(sent)
    return sent.uid


def judged(sender: str, target: str, uid: str, content: str = TEXT, classname: str = "") -> Any:
    payload = modifications.modification(uid, content, classname)
    asked = Request(1, sender, "modify", target, payload, uuid.uuid4().hex, FROM_SERVER)
    (verdict,) = modify.admit(home(1, target), [asked])
    return verdict


def history(reader: str, peer: str, method: str = "qryPMsg") -> dict[str, tuple[str, int]]:
    """uid -> content and extStatus"""
    wanted = im.HistoryMsgInput(targetId=peer, time=0, count=20, order=0)
    found = reply(im.HistoryMsgOuput, reader, method, wanted).list
    return {each.msgId: (each.content.decode(), each.extStatus) for each in found}


def news(reader: str, version: int = 0, **how: Any) -> im.PullModifyMsgResp:
    return reply(
        im.PullModifyMsgResp, reader, "pullModifyMsg", im.PullModifyMsgReq(pullVersion=version), **how
    )


def uids(reader: str, version: int = 0, **how: Any) -> list[str]:
    return [each.msg.msgId for each in news(reader, version, **how).msg]


def test_both_sides_find_the_new_content_and_nobody_is_shown_another_message() -> None:
    uid, other = send(ALICE, BOB), send(ALICE, BOB)
    before = {name: pulled(home(1, name), name) for name in (ALICE, BOB)}
    store(judged(ALICE, BOB, uid, classname="RC:TxtMsg"))
    for reader, peer in ((ALICE, BOB), (BOB, ALICE)):
        assert history(reader, peer) == {uid: (TEXT, 4), other: ("{}", 0)}
        assert pulled(home(1, reader), reader) == before[reader]


def test_v5_asks_for_what_was_modified_after_its_version() -> None:
    first, second = send(ALICE, BOB), send(BOB, ALICE)
    assert (news(BOB, 5).nextVersion, news(BOB, 5).finished) == (5, True)
    store(judged(ALICE, BOB, first))
    version = news(BOB).nextVersion
    store(judged(BOB, ALICE, second))
    store(judged(ALICE, BOB, first, '{"content":"newest"}'))
    for reader, directions in ((ALICE, [2, 1]), (BOB, [1, 2])):
        found = news(reader)
        assert [(each.modifyType, each.msg.msgId) for each in found.msg] == [(1, second), (1, first)]
        assert [each.msg.content for each in found.msg] == [TEXT.encode(), b'{"content":"newest"}']
        assert [each.msg.direction or 2 for each in found.msg] == directions
        assert found.finished and not news(reader, found.nextVersion).msg
    assert uids(BOB, version) == [second, first]
    assert uids(CAROL) == [] and uids(BOB, tenant=2, server_set="set2") == []
    assert ask(BOB, "pullModifyMsg", MALFORMED_BYTES).status == AckStatus.MALFORMED


def test_pages_end_where_the_next_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [send(ALICE, BOB) for _ in range(5)]
    for uid in sent:
        store(judged(ALICE, BOB, uid))
    monkeypatch.setattr(modify, "PAGE_BYTES", 1)  # a page ends with the one that passes it
    found, version = [], 0
    while True:
        page = news(BOB, version)
        found += [each.msg.msgId for each in page.msg]
        assert page.nextVersion > version
        version = page.nextVersion
        if page.finished:
            break
    assert found == sent


def change(how: str, *names: str) -> None:
    payload = msgpack.packb([how, list(names), ""])
    asked = Request(1, "", "grpChange", "the-group", payload, uuid.uuid4().hex, FROM_SERVER)
    store(*group.change(home(1, "the-group"), [asked]))


def test_of_a_group_those_learn_it_who_may_read_the_message() -> None:
    change(groups.JOIN, ALICE, BOB)
    uid = send(ALICE, "the-group", kind=GROUP)
    readers = im.UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=b"{}", toUserIds=["x"])
    directed = send(ALICE, "the-group", kind=GROUP, flags=3 | DIRECTED, up=readers.SerializeToString())
    change(groups.JOIN, CAROL)
    store(judged(ALICE, "the-group", uid), judged(ALICE, "the-group", directed))
    assert [uids(name) for name in (ALICE, BOB, CAROL)] == [[uid, directed], [uid], []]
    assert history(BOB, "the-group", "qryGMsg")[uid] == (TEXT, 4)
    change(groups.QUIT, BOB)
    assert uids(BOB) == []


def test_only_a_known_message_of_the_sender_in_this_conversation_is_modified() -> None:
    uid = send(ALICE, BOB)
    recalled = send(ALICE, BOB, flags=3 | RECALLED)
    assert judged(ALICE, BOB, "unknown") == Refused(AckStatus.NOT_MODIFIABLE)
    assert judged(ALICE, BOB, recalled) == Refused(AckStatus.NOT_MODIFIABLE)
    for wrong in (
        judged(BOB, ALICE, uid),
        judged(CAROL, BOB, uid),
        judged(ALICE, CAROL, uid),
        judged(ALICE, BOB, uid, classname="RC:ImgMsg"),
        judged(ALICE, BOB, uid, "no JSON"),
    ):
        assert isinstance(wrong, Refused)
    assert history(BOB, ALICE) == {uid: ("{}", 0)}


def test_an_older_modification_does_not_undo_a_newer_one() -> None:
    up = im.UpStreamMessage(sessionId=3, classname="X:Own", content=b"sent").SerializeToString()
    first, second = (modifications.modification("uid", text) for text in ("first", "second"))
    expected = modifications.modified(modifications.modified(up, first, 1000), second, 2000)
    assert im.UpStreamMessage.FromString(expected).content == b"second"
    assert modifications.modified(modifications.modified(up, second, 2000), first, 1000) == expected
    claimed = im.UpStreamMessage.FromString(up)
    claimed.modifiedAt = 1 << 60  # by its sender
    assert modifications.modified(claimed.SerializeToString(), second, 2000) == expected
