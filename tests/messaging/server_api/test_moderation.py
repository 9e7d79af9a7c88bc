"""Words, white lists and private mutes through the server API: whose they are, and what is refused."""

import json
from typing import Any

import pytest

from apps.accounts.directory import TenantEntry
from apps.messaging import sensitive_words, slot_moves
from apps.routing import topology
from tests.accounts.tenants import signed
from tests.messaging.server_api.calls import call, post, refused


@pytest.fixture(autouse=True)
def topology_(databases: None) -> None:
    topology.bootstrap()
    topology.topology.renew()
    slot_moves.hand_out()


def words(tenant: TenantEntry, **how: Any) -> list[tuple[str, str, str]]:
    listed = call(tenant, "/sensitiveword/list", **how)["words"]
    return [(each["word"], each["type"], each["replaceWord"]) for each in listed]


def batch(tenant: TenantEntry, *items: Any) -> dict[str, Any]:
    body = json.dumps({"words": items}).encode()
    answer: dict[str, Any] = post("/sensitiveword/batch/add.json", body, signed(tenant)).json()
    return answer


def test_words_are_added_listed_by_kind_and_deleted(alices: TenantEntry, mallorys: TenantEntry) -> None:
    call(alices, "/sensitiveword/add", word="damn", replaceWord="***")
    for _ in range(2):
        call(alices, "/sensitiveword/add", word="Spam", replaceWord="")
    left = sensitive_words.WORDS_MAX - 4
    assert batch(alices, {"word": "一二"}, {"word": "b", "replaceWord": "é"}) == {
        "code": 200,
        "remainQuota": left,
    }
    replaced, blocked = (
        [("b", "0", "é"), ("damn", "0", "***")],
        [("Spam", "1", ""), ("一二", "1", "")],
    )
    assert words(alices, type=0) == replaced
    assert words(alices) == words(alices, type=1) == blocked
    assert words(alices, type=2) == sorted(replaced + blocked, key=lambda each: each[0].lower())
    call(mallorys, "/sensitiveword/delete", word="damn")
    call(mallorys, "/sensitiveword/batch/delete", words=["spam", "b"])
    assert words(mallorys, type=2) == []
    call(alices, "/sensitiveword/delete", word="DAMN")
    call(alices, "/sensitiveword/batch/delete", words=["spam", "b", "never there"])
    assert words(alices, type=2) == [("一二", "1", "")]


def test_the_older_paths_are_about_the_same_words(alices: TenantEntry) -> None:
    call(alices, "/wordfilter/add", word="spam")
    call(alices, "/sensitiveword/add", word="damn", replaceWord="*")
    assert call(alices, "/wordfilter/list") == {"words": [{"word": "damn"}, {"word": "spam"}]}
    assert words(alices) == [("spam", "1", "")]
    call(alices, "/wordfilter/delete", word="damn")
    assert call(alices, "/wordfilter/list") == {"words": [{"word": "spam"}]}


def test_more_words_than_an_app_may_have_are_refused_with_what_is_left(
    alices: TenantEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitive_words, "WORDS_MAX", 2)
    call(alices, "/sensitiveword/add", word="one")
    answer = batch(alices, {"word": "two"}, {"word": "three"})
    assert (answer["code"], answer["remainQuota"]) == (1019, 1)
    call(alices, "/sensitiveword/add", word="two")
    assert refused(alices, "/sensitiveword/add", word="three")[:2] == (403, 1019)
    assert refused(alices, "/wordfilter/add", word="three")[:2] == (403, 1019)
    assert [word for word, *_ in words(alices)] == ["one", "two"]


NO_WORDS: list[tuple[str, dict[str, Any], str]] = [
    ("add", {}, "word is required."),
    ("add", {"word": "-"}, "word must have a letter or a digit."),
    ("add", {"word": "x" * 33}, "word is longer than 32 characters."),
    ("add", {"word": "a\nb"}, "word has characters that are no text."),
    ("add", {"word": "a", "replaceWord": "x" * 33}, "replaceWord is longer than 32 characters."),
    ("delete", {"word": "x" * 129}, "word is longer than 128 bytes."),
    ("batch/delete", {"words": [f"w{n}" for n in range(51)]}, "words takes 50 values at most."),
    ("batch/delete", {}, "words is required."),
    ("list", {"type": 3}, "type must be a whole number from 0 to 2."),
    ("batch/add", {"words": [f"w{n}" for n in range(51)]}, "words takes 50 values at most."),
    ("batch/add", {"words": '{"word":1}'}, "words has an item whose word or replaceWord is no text."),
    ("batch/add", {"words": '{"word":'}, "words has an item that is not JSON."),
    ("batch/add", {"words": ["ok", "{}"]}, "words has an item whose word or replaceWord is no text."),
    ("batch/add", {"words": ["ok", "!"]}, "words has an item that must have a letter or a digit."),
    (
        "batch/add",
        {"words": '{"word":"a\\ud83d"}'},
        "words has an item that has characters that are no text.",
    ),
]


def test_what_is_no_word_is_refused_and_nothing_is_added(alices: TenantEntry) -> None:
    for path, fields, said in NO_WORDS:
        assert refused(alices, f"/sensitiveword/{path}", **fields) == (400, 1002, said), fields
    assert words(alices, type=2) == []


def test_white_lists_are_their_owners_and_come_in_pages(alices: TenantEntry, mallorys: TenantEntry) -> None:
    names = [f"u{n}" for n in range(5)]
    for _ in range(2):
        call(alices, "/user/whitelist/add", userId="alice", whiteUserId=names)
    assert call(alices, "/user/whitelist/query", userId="alice") == {"users": names}
    for foreign in (
        call(mallorys, "/user/whitelist/query", userId="alice"),
        call(alices, "/user/whitelist/query", userId="nobody"),
    ):
        assert foreign == {"users": []}
    call(mallorys, "/user/whitelist/remove", userId="alice", whiteUserId=names)
    pages = []
    token = ""
    for _ in range(3):
        page = call(alices, "/user/whitelist/query", userId="alice", size=2, pageToken=token)
        pages.append(page["users"])
        token = page["next"]
    assert (pages, token) == ([names[:2], names[2:4], names[4:]], "")
    call(alices, "/user/whitelist/remove", userId="alice", whiteUserId=[*names[:4], "never there"])
    assert call(alices, "/user/whitelist/query", userId="alice", size=9) == {"users": ["u4"], "next": ""}


def test_private_mutes_are_set_and_listed_in_pages(alices: TenantEntry, mallorys: TenantEntry) -> None:
    names = [f"u{n}" for n in range(3)]
    call(alices, "/user/chat/fb/set", userId=names, state=1, type="PERSON")
    found = call(alices, "/user/chat/fb/querylist", type="PERSON", num=2, offset=1)
    assert found == {"total": 3, "users": names[1:]}
    call(mallorys, "/user/chat/fb/set", userId=names, state=0, type="PERSON")
    assert call(mallorys, "/user/chat/fb/querylist", type="PERSON") == {"total": 0, "users": []}
    call(alices, "/user/chat/fb/set", userId=[*names[1:], "never muted"], state=0, type="PERSON")
    assert call(alices, "/user/chat/fb/querylist", type="PERSON") == {"total": 1, "users": ["u0"]}


NOT_VALID: list[tuple[str, dict[str, Any]]] = [
    ("/user/whitelist/add", {"userId": "u"}),
    ("/user/whitelist/remove", {"userId": "u", "whiteUserId": ""}),
    ("/user/whitelist/add", {"whiteUserId": "u"}),
    ("/user/whitelist/add", {"userId": "u", "whiteUserId": [f"u{n}" for n in range(21)]}),
    ("/user/whitelist/add", {"userId": "u", "whiteUserId": "x" * 65}),
    ("/user/whitelist/query", {}),
    ("/user/whitelist/query", {"userId": "u", "size": 0}),
    ("/user/chat/fb/set", {"userId": "u", "state": 1}),
    ("/user/chat/fb/set", {"userId": "u", "state": 2, "type": "PERSON"}),
    ("/user/chat/fb/set", {"userId": "u", "state": 1, "type": "GROUP"}),
    ("/user/chat/fb/set", {"state": 1, "type": "PERSON"}),
    ("/user/chat/fb/querylist", {}),
    ("/user/chat/fb/querylist", {"type": "PERSON", "num": 201}),
    ("/user/chat/fb/querylist", {"type": "PERSON", "offset": -1}),
]


def test_what_is_not_valid_is_refused(alices: TenantEntry) -> None:
    for path, fields in NOT_VALID:
        assert refused(alices, path, **fields)[:2] == (400, 1002), (path, fields)
