"""`/sensitiveword/…`, and `/wordfilter/…` of older SDKs: words that messages may not have."""

from __future__ import annotations

import json

from apps.messaging import sensitive_words
from apps.messaging.sensitive_words import Full, Sensitive, checked_replacement, checked_word
from apps.messaging.server_api.declarations import (
    TOO_MANY_WORDS,
    Answer,
    Call,
    ListParam,
    Param,
    Refused,
    endpoint,
    integer,
    text,
)

WORDS_A_CALL = 50
REPLACED, BLOCKED, ALL = 0, 1, 2  # `type` of a list; of a word the first two, as texts

WORD = Param("word", text(128), required=True)
NEW_WORD = Param("word", checked_word, required=True)


def sensitive(text: str) -> Sensitive:
    """One item of `words`: an object of JSON, or a word alone."""
    given = {"word": text}
    if text.lstrip().startswith("{"):
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("has an item that is not JSON") from None
    word, replacement = given.get("word"), given.get("replaceWord") or ""
    if not isinstance(word, str) or not isinstance(replacement, str):
        raise ValueError("has an item whose word or replaceWord is no text")
    try:
        return Sensitive(checked_word(word), checked_replacement(replacement))
    except ValueError as error:
        raise ValueError(f"has an item that {error}") from None


def _add(call: Call, *wanted: Sensitive) -> int:
    try:
        return sensitive_words.add(call.tenant.id, wanted)
    except Full as full:
        raise Refused(TOO_MANY_WORDS, str(full), remainQuota=full.left) from None


@endpoint(
    "/sensitiveword/add",
    NEW_WORD,
    Param("replaceWord", checked_replacement, default=""),
    errors=(TOO_MANY_WORDS,),
)
def add(call: Call) -> Answer:
    """Messages of clients with the word are refused, or have `replaceWord` in its place."""
    _add(call, Sensitive(call["word"], call["replaceWord"]))
    return {}


@endpoint(
    "/sensitiveword/batch/add",
    ListParam("words", sensitive, required=True, most=WORDS_A_CALL),
    answer={"remainQuota": 100},
    errors=(TOO_MANY_WORDS,),
)
def add_many(call: Call) -> Answer:
    """All of them or none; `remainQuota`: so many more may be added."""
    return {"remainQuota": _add(call, *call["words"])}


@endpoint("/sensitiveword/delete", WORD)
def delete(call: Call) -> Answer:
    """A word that is not there need not be deleted."""
    sensitive_words.remove(call.tenant.id, [call["word"]])
    return {}


@endpoint("/sensitiveword/batch/delete", Param("words", text(128), required=True, most=WORDS_A_CALL))
def delete_many(call: Call) -> Answer:
    """Words that are not there need not be deleted."""
    sensitive_words.remove(call.tenant.id, call["words"])
    return {}


@endpoint(
    "/sensitiveword/list",
    Param("type", integer(REPLACED, ALL), default=BLOCKED),
    answer={"words": [{"type": "0", "word": "damn", "replaceWord": "***"}]},
)
def listed(call: Call) -> Answer:
    """List words: with `type` 0 those that are replaced, with 1 those that are refused, with 2 all."""
    kinds = [(each, REPLACED if each.replacement else BLOCKED) for each in _of(call)]
    return {
        "words": [
            {"type": str(kind), "word": each.word, "replaceWord": each.replacement}
            for each, kind in kinds
            if call["type"] in (kind, ALL)
        ]
    }


def _of(call: Call) -> list[Sensitive]:
    return sensitive_words.listed(call.tenant.id)


@endpoint("/wordfilter/add", NEW_WORD, errors=(TOO_MANY_WORDS,))
def add_filter(call: Call) -> Answer:
    """Messages of clients with the word are refused; as `/sensitiveword/add` does it."""
    _add(call, Sensitive(call["word"], ""))
    return {}


endpoint("/wordfilter/delete", WORD)(delete)


@endpoint("/wordfilter/list", answer={"words": [{"word": "damn"}]})
def filters(call: Call) -> Answer:
    """All words, those that are replaced too."""
    return {"words": [{"word": each.word} for each in _of(call)]}
