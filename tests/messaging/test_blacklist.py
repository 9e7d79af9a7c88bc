"""The block list calls of v2: the owner is the one who asks, and messages to him are judged by it at once."""

import pytest
import redis
from google.protobuf.message import Message

from apps.messaging import block_lists
from apps.messaging.log import Log
from apps.messaging.methods import blacklist
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import user

ALICE = user("set1")
BOB = user("set2")


@pytest.fixture(autouse=True)
def own_sets(sets: dict[str, Log], redis_client: redis.Redis) -> dict[str, Log]:
    return sets


def block(owner: str, other: str) -> int:
    return ask(owner, "addBlack", im.Add2BlackListInput(userId=other), target=other, generation=2).status


def unblock(owner: str, other: str) -> int:
    body = im.RemoveFromBlackListInput(userId=other)
    return ask(owner, "rmBlack", body, target=other, generation=2).status


def blocked(owner: str) -> list[str]:
    body = im.QueryBlackListInput(nothing=1)
    return list(reply(im.QueryBlackListOutput, owner, "getBlack", body, generation=2).userIds)


def test_who_is_blocked_is_listed_and_told_by_the_status_and_found_where_messages_are_judged() -> None:
    status = im.BlackListStatusInput(userId=BOB)
    assert ask(ALICE, "blackStat", status, target=BOB).status == AckStatus.NOT_BLACKLISTED
    assert block(ALICE, BOB) == 0
    assert block(ALICE, BOB) == 0
    assert blocked(ALICE) == [BOB]
    assert blocked(BOB) == []
    assert ask(ALICE, "blackStat", status, target=BOB).status == 0
    assert block_lists.blocked_pairs("set1", [(1, ALICE, BOB), (1, BOB, ALICE)]) == {(1, ALICE, BOB)}
    assert unblock(ALICE, BOB) == 0
    assert unblock(ALICE, BOB) == 0
    assert blocked(ALICE) == []


def test_another_tenants_user_of_the_same_name_is_another_user() -> None:
    block(ALICE, BOB)
    body = im.BlackListStatusInput(userId=BOB)
    assert ask(ALICE, "blackStat", body, tenant=2).status == AckStatus.NOT_BLACKLISTED


def test_a_list_that_is_full_takes_nobody_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_lists, "BLOCKED_MAX", 2)
    assert (block(ALICE, "a"), block(ALICE, "b")) == (0, 0)
    assert block(ALICE, "c") == AckStatus.OPERATION_BLOCKED
    assert block(ALICE, "a") == 0
    assert blocked(ALICE) == ["a", "b"]


BAD: dict[str, list[Message | bytes]] = {
    "addBlack": [
        MALFORMED_BYTES,
        b"",
        im.Add2BlackListInput(userId=""),
        im.Add2BlackListInput(userId="x" * 65),
        im.Add2BlackListInput(userId="a\0b"),
        im.Add2BlackListInput(userId=ALICE),
        b"\x0a\x02\xff\xff",
    ],
    "rmBlack": [MALFORMED_BYTES, b"", im.RemoveFromBlackListInput(userId="x" * 65)],
    "getBlack": [MALFORMED_BYTES],
    "blackStat": [MALFORMED_BYTES, b"", im.BlackListStatusInput(userId="a\nb")],
}


def test_every_method_of_block_lists_is_in_the_table_of_bad_input() -> None:
    assert BAD.keys() == blacklist.METHODS.keys()


@pytest.mark.parametrize("method", sorted(BAD))
def test_bad_input_is_refused_and_nobody_is_blocked(method: str) -> None:
    for body in BAD[method]:
        assert ask(ALICE, method, body, target=BOB, generation=2).status == AckStatus.MALFORMED, body
    assert blocked(ALICE) == []
