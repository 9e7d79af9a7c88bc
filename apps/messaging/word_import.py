"""Files of sensitive words, `word[,replacement]` a line: taken whole, or not at all, and why is told."""

from __future__ import annotations

from apps.messaging.sensitive_words import WORDS_MAX, Sensitive, checked_replacement, checked_word
from apps.messaging.word_search import folded

FILE_MAX = 1 << 20  # bytes; as many words as a tenant may have, of two bytes a character, have room
PROBLEMS_TOLD = 20


class WordFileError(Exception):
    """What is wrong, a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        told = problems[:PROBLEMS_TOLD]
        if len(problems) > len(told):
            told.append(f"{len(problems) - len(told)} more lines are wrong.")
        super().__init__(" ".join(told))
        self.problems = told


def read(data: bytes) -> list[Sensitive]:
    """The words of a file. Raises WordFileError.

    What follows the first comma stands for the word; without one, messages with it are refused. Lines with
    nothing but spaces are left out, and so are spaces around words.
    """
    if len(data) > FILE_MAX:
        raise WordFileError([f"The file is larger than {FILE_MAX} bytes."])
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise WordFileError([f"Line {number} is not UTF-8."]) from None
    found: dict[str, tuple[int, Sensitive]] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            each = _sensitive(line)
        except ValueError as error:
            problems.append(f"Line {number}: {error}.")
            continue
        earlier, same = found.setdefault(folded(each.word), (number, each))
        if same.replacement != each.replacement:
            problems.append(f"Line {number}: the word is in line {earlier} with something else for it.")
    if not found and not problems:
        problems = ["There are no words in it."]
    if len(found) > WORDS_MAX:
        problems.append(f"There are {len(found)} words in it; an app has {WORDS_MAX} at most.")
    if problems:
        raise WordFileError(problems)
    return [each for _, each in found.values()]


def _sensitive(line: str) -> Sensitive:
    word, comma, replacement = (part.strip() for part in line.partition(","))
    if comma and not replacement:
        raise ValueError("nothing follows the comma")
    try:
        checked_word(word)
    except ValueError as error:
        raise ValueError(f"the word {error}") from None
    try:
        checked_replacement(replacement)
    except ValueError as error:
        raise ValueError(f"the replacement {error}") from None
    return Sensitive(word, replacement)
