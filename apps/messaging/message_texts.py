"""The texts of a message that people are shown, and how they are changed: all else stays byte for byte. Pure.

Contents are JSON objects (SERVER_API 7). What is no JSON is taken for a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError

# Class -> the members of its content that are texts. Contents of other classes are not read: what is a text
# in them, and what an address or a picture, only their apps know.
TEXTS: dict[str, tuple[str, ...]] = {
    "RC:TxtMsg": ("content",),
    "RC:ReferenceMsg": ("content",),
    "RC:ImgTextMsg": ("title", "content"),
    "RC:LBSMsg": ("poi",),
    "RC:FileMsg": ("name",),
    "RC:InfoNtf": ("message",),
}
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # numbers of any length; nobody looks at them

Change = Callable[[str], str]


def change_texts(up: UpStreamMessage, change: Change) -> bool:
    """Have `change` make new texts of them, those of the push too; whether any is another one then.

    Raises what `change` raises, and ProtocolError for a content that is nested too deeply.
    """
    content = up.content
    if names := TEXTS.get(up.classname):
        content = changed_content(content, names, change)
    push = change(up.pushText) if up.pushText else ""
    title = change(up.pushExt.title) if up.pushExt.title else ""
    if (content, push, title) == (up.content, up.pushText, up.pushExt.title):
        return False
    up.content, up.pushText = content, push
    if title != up.pushExt.title:
        up.pushExt.title = title
    return True


def changed_content(content: bytes, names: Sequence[str], change: Change) -> bytes:
    """The content with these members changed where they are texts; JSON stays JSON."""
    text = content.decode()
    begin = _after_space(text, 0)
    try:
        value, end = _DECODER.raw_decode(text, begin)
        if _after_space(text, end) < len(text):
            raise ValueError("more than one value")
    except ValueError:
        changed = change(text)
        return content if changed == text else changed.encode()
    except RecursionError:
        raise ProtocolError("a content that is nested too deeply") from None
    if isinstance(value, dict):
        shown = (value.get(name) for name in names)
        if all(change(each) == each for each in shown if isinstance(each, str)):
            return content
        spans = [(at, upto, its) for name, at, upto, its in _members(text, begin) if name in names]
    else:
        spans = [(begin, end, value)]  # a text of its own, if it is one
    parts: list[str] = []
    done = 0
    for at, upto, its in spans:
        if text[at] == '"' and (changed := change(its)) != its:
            parts += (text[done:at], _literal(changed))
            done = upto
    return "".join((*parts, text[done:])).encode() if parts else content


def _members(text: str, begin: int) -> Iterator[tuple[str, int, int, Any]]:
    """(name, where its value begins, where that ends, the value) of each member of a valid object."""
    at = begin
    while text[at] != "}":
        at = _after_space(text, at + 1)  # past `{` or `,`
        if text[at] == "}":
            return
        name, at = _DECODER.raw_decode(text, at)
        colon = _after_space(text, at)
        at = _after_space(text, colon + 1)
        value, end = _DECODER.raw_decode(text, at)
        yield name, at, end, value
        at = _after_space(text, end)


def _after_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere


def _literal(text: str) -> str:
    """The text as JSON spells it; half a surrogate pair, which UTF-8 cannot hold, as an escape."""
    literal = json.dumps(text, ensure_ascii=False)
    try:
        literal.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return literal
