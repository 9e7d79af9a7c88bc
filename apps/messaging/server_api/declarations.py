"""One declaration per endpoint drives its parsing, its validation and its errors.

    @endpoint("/user/checkOnline", Param("userId", identifier, required=True))
    def check_online(call: Call) -> Answer: ...

A handler gets valid values only. One that is `async def` runs on the event loop and must not touch the ORM;
any other runs in a thread.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from apps.accounts.directory import TenantEntry
from apps.accounts.signatures import BAD_SIGNATURE, LOCKED
from apps.messaging.server_api.body import Fields

ID_MAX = 64  # bytes of a user, group or chatroom id
INTERNAL, PARAMETER, NOT_FOUND = 1000, 1002, 404
BODY_TOO_LARGE, TIMEOUT = 1508, 1050
TOO_OFTEN, TOO_MANY, TOO_MANY_USERS = 1008, 1502, 2007  # past a quota of the tenant
# Business code -> HTTP status. SDKs fail over to another host on 5xx, so those mean "try again" only.
HTTP_STATUS = {
    200: 200,
    NOT_FOUND: 404,
    405: 405,  # a group is full
    INTERNAL: 500,
    PARAMETER: 400,
    BAD_SIGNATURE: 401,
    LOCKED: 401,
    TIMEOUT: 504,
    BODY_TOO_LARGE: 400,
    TOO_OFTEN: 429,
    TOO_MANY: 400,
    TOO_MANY_USERS: 403,
}

Answer = dict[str, Any]
Handler = Callable[["Call"], "Answer | Awaitable[Answer]"]


class Refused(Exception):
    """The request cannot be served, for a reason that its caller is told. `extra` joins the answer."""

    def __init__(self, code: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.extra = extra


class TooOften(Refused):
    """The tenant uses more than it may; after so many seconds there is room again."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(TOO_OFTEN, f"The app may not have so many {what} a second.")
        self.retry_after = math.ceil(seconds)


def identifier(text: str) -> str:
    if len(text.encode()) > ID_MAX:
        raise ValueError(f"is longer than {ID_MAX} bytes")
    if not text.isprintable() or "," in text:  # lists of ids may be joined by commas
        raise ValueError("has characters that an id must not have")
    return text


def text(max_bytes: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text.encode()) > max_bytes:
            raise ValueError(f"is longer than {max_bytes} bytes")
        if "\0" in text:
            raise ValueError("has a NUL character")
        return text

    return parse


def integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


LAST_MOMENT = 253_402_300_799_999  # ms: the end of the year 9999


def clock(at: int) -> str:
    """A time of epoch ms as the older answers show it, in the installation's time zone."""
    at = min(at, LAST_MOMENT - 86_400_000)  # of any time zone
    return timezone.localtime(datetime.fromtimestamp(at / 1000, UTC)).strftime("%Y-%m-%d %H:%M:%S")


def flag(text: str) -> bool:
    """0 or 1, or a boolean as this or that language prints it."""
    if text.lower() not in ("0", "1", "true", "false"):
        raise ValueError("must be 0, 1, true or false")
    return text.lower() in ("1", "true")


def json_object(max_bytes: int) -> Callable[[str], dict[str, Any]]:
    limited = text(max_bytes)

    def parse(text: str) -> dict[str, Any]:
        try:
            found = json.loads(limited(text))
            json.dumps(
                found, ensure_ascii=False
            ).encode()  # half a surrogate pair can be spelled, not sent on
        except (UnicodeEncodeError, json.JSONDecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ValueError("must be a JSON object")
        return found

    return parse


@dataclass(frozen=True)
class Param:
    """A parameter. One that is present and empty counts as absent, unless `may_be_empty`.

    `most` > 1 makes it a list: the parameter repeated, or ids joined by commas. An absent list is empty.
    """

    name: str
    parse: Callable[[str], Any]
    required: bool = False
    default: Any = None
    most: int = 1
    may_be_empty: bool = False

    def value(self, fields: Fields) -> Any:
        """Its valid value. Raises Refused."""
        given = fields.get(self.name, [])
        if self.most > 1 and self.parse is identifier:
            given = [item for joined in given for item in joined.split(",")]
        if not self.may_be_empty:
            given = [item for item in given if item]
        if self.required and not given:
            raise Refused(PARAMETER, f"{self.name} is required.")
        if len(given) > self.most > 1:
            raise Refused(PARAMETER, f"{self.name} takes {self.most} values at most.")
        try:
            if self.most > 1:
                return list(dict.fromkeys(self.parse(item) for item in given))
            return self.parse(given[0]) if given else self.default
        except ValueError as error:
            raise Refused(PARAMETER, f"{self.name} {error}.") from None


@dataclass(frozen=True)
class ListParam(Param):
    """A list whose places mean something: nothing in it is joined, left out or the same as another.

    With `may_be_empty`, a null of JSON and an empty text are an empty one.
    """

    def value(self, fields: Fields) -> list[Any]:
        given = fields.get(self.name, [])
        if self.required and not given:
            raise Refused(PARAMETER, f"{self.name} is required.")
        if len(given) > self.most:
            raise Refused(PARAMETER, f"{self.name} takes {self.most} values at most.")
        try:
            return [self.parse("" if item == "null" and self.may_be_empty else item) for item in given]
        except ValueError as error:
            raise Refused(PARAMETER, f"{self.name} {error}.") from None


@dataclass(frozen=True)
class MapParam(Param):
    """Parameters `name[key]=value` as one dict. `parse` is for the keys, `parse_value` for what they have."""

    parse_value: Callable[[str], Any] = str

    def value(self, fields: Fields) -> dict[Any, Any]:
        begin = f"{self.name}["
        given = {
            name[len(begin) : -1]: values[0]
            for name, values in fields.items()
            if name.startswith(begin) and name.endswith("]") and values
        }
        given.pop("", None)
        if self.required and not given:
            raise Refused(PARAMETER, f"{self.name}[…] is required.")
        if len(given) > self.most:
            raise Refused(PARAMETER, f"{self.name}[…] takes {self.most} values at most.")
        try:
            return {self.parse(key): self.parse_value(value) for key, value in given.items()}
        except ValueError as error:
            raise Refused(PARAMETER, f"{self.name}[…] {error}.") from None


@dataclass(frozen=True)
class Call:
    """One valid request."""

    tenant: TenantEntry
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True)
class Endpoint:
    """`answer`: an example of what a success answers besides its code."""

    path: str
    params: tuple[Param, ...]
    handler: Handler
    answer: Answer

    def call(self, tenant: TenantEntry, fields: Fields) -> Call:
        """The request with its values checked; what is not declared is ignored. Raises Refused."""
        return Call(tenant, {param.name: param.value(fields) for param in self.params})


ENDPOINTS: dict[str, Endpoint] = {}


def endpoint(path: str, *params: Param, answer: Answer | None = None) -> Callable[[Handler], Handler]:
    """Declare the handler of a path, which is written without suffix."""

    def declare(handler: Handler) -> Handler:
        ENDPOINTS[path] = Endpoint(path, params, handler, answer or {})
        return handler

    return declare
