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


class WordSearch:
    """Words, each with its replacement; an empty one blocks the text that the word is in."""

    def __init__(self, words: Iterable[tuple[str, str]]) -> None:
        self._automaton = ahocorasick.Automaton()
        for word, replacement in words:
            self._automaton.add_word(folded(word), (len(word), replacement))
        self._automaton.make_automaton()  # of no words it stays a trie, which is not searched

    def replaced(self, text: str) -> str:
        """The text with its words replaced. Raises Blocked, also for a word within one to be replaced."""
        found: dict[int, tuple[int, str]] = {}  # where the longest begins: where it ends, its replacement
        if not self._automaton:
            return text
        for last, (length, replacement) in self._automaton.iter(folded(text)):
            if not replacement:
                raise Blocked
            found[last + 1 - length] = last + 1, replacement  # they come in the order of their ends
        if not found:
            return text
        parts: list[str] = []
        done = 0
        for begin in sorted(found):
            if begin >= done:
                end, replacement = found[begin]
                parts += (text[done:begin], replacement)
                done = end
        return "".join((*parts, text[done:]))
