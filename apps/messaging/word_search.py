"""Words in a text, thousands of them in one pass (Aho-Corasick), whatever their case. Pure.

Of words that overlap, the one that begins first is replaced, of those that begin together the longest. The
library's own `iter_long` is not used: it misses words that come after a longer one's beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

import ahocorasick


class Blocked(Exception):
    """The text has a word that keeps it from being sent."""


def folded(text: str) -> str:
    """The text without case, in as many characters: its places are the text's own."""
    # Of all characters, only İ has a longer lower case; only Σ has another one at the end of a word.
    return text.replace("İ", "i").lower().replace("ς", "σ")


def _utf8(text: str) -> str:
    """A character for each byte: the library tries the branches of a node one after the other, and where
    words begin with thousands of different characters that takes ten times as long.
    """
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


class WordSearch:
    """Words, each with its replacement; an empty one blocks the text that the word is in."""

    def __init__(self, words: Iterable[tuple[str, str]]) -> None:
        self._automaton = ahocorasick.Automaton()
        for word, replacement in words:
            key = _utf8(folded(word))
            self._automaton.add_word(key, (len(key), len(word), replacement))
        self._automaton.make_automaton()  # of no words it stays a trie, which is not searched

    def replaced(self, text: str) -> str:
        """The text with its words replaced. Raises Blocked, also for a word within one to be replaced."""
        if not self._automaton:
            return text
        searched = _utf8(folded(text))
        found: dict[int, tuple[int, str]] = {}  # byte where the longest begins: characters, replacement
        for last, (size, length, replacement) in self._automaton.iter(searched):
            if not replacement:
                raise Blocked
            found[last + 1 - size] = length, replacement  # they come in the order of their ends
        return _joined(text, searched, found) if found else text


def _joined(text: str, searched: str, found: dict[int, tuple[int, str]]) -> str:
    parts: list[str] = []
    done = place = at = 0  # characters that are in `parts`, and those that are before the byte `at`
    for begin in sorted(found):
        place += sum(byte & 0xC0 != 0x80 for byte in searched[at:begin].encode("latin-1"))
        at = begin
        if place >= done:
            length, replacement = found[begin]
            parts += (text[done:place], replacement)
            done = place + length
    return "".join((*parts, text[done:]))
