"""Sensitive words in a text: what is found is what a plain search finds, whatever words overlap."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.messaging.word_search import Blocked, WordSearch, folded

# Few letters, so that words begin, end and lie in one another; some whose lower case has more bytes or fewer.
LETTERS = "abAİȺ"
WORDS = st.dictionaries(
    st.text(LETTERS, min_size=1, max_size=5), st.text("aX*", min_size=1, max_size=3), max_size=8
)


def plainly_replaced(words: dict[str, str], text: str) -> str:
    """From the left, the longest word that begins here, or else one character."""
    at, result = 0, ""
    while at < len(text):
        here = [word for word in words if folded(text[at : at + len(word)]) == folded(word)]
        longest = max(here, key=len, default="")
        result += words[longest] if longest else text[at]
        at += len(longest) or 1
    return result


def unique(words: dict[str, str]) -> dict[str, str]:
    return {folded(word): replacement for word, replacement in words.items()}


@given(WORDS, st.text(LETTERS, max_size=16))
def test_of_overlapping_words_the_first_is_replaced_and_of_those_the_longest(
    words: dict[str, str], text: str
) -> None:
    words = unique(words)
    assert WordSearch(words.items()).replaced(text) == plainly_replaced(words, text)


@given(WORDS, st.text(LETTERS, min_size=1, max_size=3), st.text(LETTERS, max_size=16))
def test_a_text_is_blocked_exactly_when_it_has_a_word_that_blocks(
    words: dict[str, str], blocking: str, text: str
) -> None:
    search = WordSearch((unique(words) | {folded(blocking): ""}).items())
    if folded(blocking) in folded(text):
        with pytest.raises(Blocked):
            search.replaced(text)
    else:
        search.replaced(text)


def test_a_word_that_blocks_does_so_within_one_that_is_replaced() -> None:
    with pytest.raises(Blocked):
        WordSearch([("class", "c***"), ("ass", "")]).replaced("In CLASS")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("DAMN", "dAmn"),
        ("straße", "STRAße"),
        ("σας", "ΣΑΣ"),  # the Σ at the end has a lower case of its own
        ("ДУРАК", "дурак"),
        ("笨蛋", "笨蛋"),
        ("😀a", "😀A"),
        ("istanbul", "İSTANBUL"),
    ],
)
def test_case_makes_no_difference_in_any_script(word: str, text: str) -> None:
    assert WordSearch([(word, "*")]).replaced(f"İ {text} ς") == "İ * ς"


def test_without_case_every_character_is_one_character() -> None:
    wrong = [hex(n) for n in range(sys.maxunicode + 1) if len(folded(chr(n))) != 1]
    assert wrong == []
    assert len(folded("ΑΣ ΑΣ" * 3)) == 15


def test_no_words_find_nothing() -> None:
    assert WordSearch([]).replaced("damn") == "damn"
