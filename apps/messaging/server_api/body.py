"""Request bodies as published server SDKs send them, which is not always as standards say.

Every body becomes one mapping of parameter names to lists of texts, so that an endpoint reads forms and JSON
alike. Pure functions; they raise BadBody and nothing else.
"""

from __future__ import annotations

import json
import re
from typing import Any

BODY_MAX = 1 << 20  # bytes; one message's content is 128 KB, a list of 1000 receivers is 75 KB
VALUES_MAX = 10_000  # in all; a template for 1000 receivers has 4000. A million would hold up the event loop

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_HEX = "0123456789abcdefABCDEF"
_BYTE = {f"{high}{low}".encode(): bytes([int(high + low, 16)]) for high in _HEX for low in _HEX}

Fields = dict[str, list[str]]


class BadBody(Exception):
    """The body cannot be read; the text says why."""


def parse(body: bytes) -> Fields:
    """JSON when it begins with `{`, whatever its Content-Type says; else a form."""
    if body.lstrip(b" \t\r\n")[:1] == b"{":
        return _json(body)
    return form(body)


def form(body: bytes) -> Fields:
    """A form, tolerating that nothing but `&` was escaped: several SDKs send names, URLs and JSON raw.

    A `%` that is not followed by two hexadecimal digits stands for itself.
    """
    if body.count(b"&") > VALUES_MAX:
        raise BadBody("The body has too many values.")
    fields: Fields = {}
    for pair in body.strip(b"\r\n").split(b"&"):
        name, _, value = pair.partition(b"=")
        if name:
            fields.setdefault(_text(name), []).append(_text(value))
    return fields


def _text(raw: bytes) -> str:
    # Unlike urllib's, this takes no longer for a megabyte of stray `%` than for one of escapes.
    parts = _ESCAPE.split(raw.replace(b"+", b" "))
    parts[1::2] = map(_BYTE.__getitem__, parts[1::2])
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise BadBody("The body is not UTF-8.") from None


def _json(body: bytes) -> Fields:
    try:
        found = json.loads(body.decode())
        if sum(len(value) if isinstance(value, list) else 1 for value in found.values()) > VALUES_MAX:
            raise BadBody("The body has too many values.")
        return {name: _values(value) for name, value in found.items()}
    except UnicodeError:
        raise BadBody("The body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise BadBody("The body is not JSON.") from None


def _values(value: Any) -> list[str]:
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    return [_scalar(item) for item in items]


def _scalar(value: Any) -> str:
    """The text that a form would carry; an object stays JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text.encode()  # JSON can spell half a surrogate pair, which no UTF-8 can hold
    return text
