"""A tenant's sensitive words: in the control database, and in the memory of every worker.

A worker reads again only the words of tenants whose words have changed, within a second, and makes ready to
search for them when it has the tenant's next message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from apps.accounts.models import changing
from apps.accounts.snapshot import OfChanges
from apps.messaging.models import REWORDED, SensitiveWord, WordList
from apps.messaging.word_search import WordSearch, folded

WORDS_MAX = 10_000  # of a tenant
WORD_MAX = 32  # characters, of a word and of what stands for it
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, halves of surrogate pairs


class Full(Exception):
    """The tenant would have more than WORDS_MAX words: nothing was changed. `left`: so many it may add."""

    def __init__(self, left: int) -> None:
        super().__init__(f"An app has {WORDS_MAX} sensitive words at most; {left} more may be added.")
        self.left = left


class Sensitive(NamedTuple):
    """`replacement` empty: who sends the word is refused."""

    word: str
    replacement: str


# --- what workers know


@dataclass(frozen=True)
class TenantWords:
    version: int
    words: Sequence[tuple[str, str]]

    def __getstate__(self) -> dict[str, object]:
        return {"version": self.version, "words": self.words}  # what they are searched with is made anew

    @cached_property
    def search(self) -> WordSearch:
        return WordSearch(self.words)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of all tenants that have some: immutable, swapped whole."""

    version: int = 0
    by_tenant: Mapping[int, TenantWords] = field(default_factory=dict)


def _read_words(version: int, previous: Words | None) -> Words:
    known = previous.by_tenant if previous is not None else {}
    found: dict[int, TenantWords] = {}
    for tenant, changed in WordList.objects.values_list("tenant", "version"):
        its = known.get(tenant)
        if its is None or its.version != changed:
            rows = SensitiveWord.objects.filter(tenant=tenant).values_list("folded", "replacement")
            its = TenantWords(changed, list(rows))
        found[tenant] = its
    return Words(version, found)


words: OfChanges[Words] = OfChanges("sensitive words", _read_words)


def sensitive_type(flags: int) -> int:
    """The `sensitiveType` of a stored message (SERVER_API 6.2): 2 when words in it were replaced, else 0.

    1, for a word that is not allowed, no stored message has: it was refused.
    """
    return 2 if flags & REWORDED else 0


# --- what tenants want


def checked_word(text: str) -> str:
    """A text that can be a sensitive word. Raises ValueError with what is wrong."""
    checked_replacement(text)
    if not any(character.isalnum() for character in text):
        raise ValueError("must have a letter or a digit")
    return text


def checked_replacement(text: str) -> str:
    if len(text) > WORD_MAX:
        raise ValueError(f"is longer than {WORD_MAX} characters")
    if _UNFIT.search(text):
        raise ValueError("has characters that are no text")
    return text


def add(tenant: int, wanted: Iterable[Sensitive]) -> int:
    """Have these words too, or have something else stand for them; how many more the tenant may add.

    Raises Full.
    """
    made = {folded(word): (word, replacement) for word, replacement in wanted}
    rows = [
        SensitiveWord(tenant=tenant, folded=key, word=word, replacement=replacement)
        for key, (word, replacement) in made.items()
    ]
    its = SensitiveWord.objects.filter(tenant=tenant)
    with changing() as version:
        before = its.count()
        SensitiveWord.objects.bulk_create(
            rows,
            batch_size=1000,
            update_conflicts=True,
            unique_fields=("tenant", "folded"),
            update_fields=("word", "replacement"),
        )
        if (total := its.count()) > WORDS_MAX:
            raise Full(WORDS_MAX - before)
        _changed(tenant, total, version)
    return WORDS_MAX - total


def remove(tenant: int, unwanted: Iterable[str]) -> None:
    """Have them no longer, in whatever case they are given."""
    its = SensitiveWord.objects.filter(tenant=tenant)
    with changing() as version:
        its.filter(folded__in=[folded(word) for word in unwanted]).delete()
        _changed(tenant, its.count(), version)


def _changed(tenant: int, total: int, version: int) -> None:
    if total:
        WordList.objects.update_or_create(tenant=tenant, defaults={"version": version})
    else:
        WordList.objects.filter(tenant=tenant).delete()


def listed(tenant: int) -> list[Sensitive]:
    """All of a tenant's, in order."""
    rows = SensitiveWord.objects.filter(tenant=tenant).order_by("folded")
    return [Sensitive(*row) for row in rows.values_list("word", "replacement")]
