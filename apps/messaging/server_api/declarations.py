"""One declaration per endpoint drives its parsing, its validation and its errors.

    @endpoint("/user/checkOnline", Param("userId", identifier, required=True))
    def check_online(call: Call) -> Answer: ...

A handler gets valid values only. One that is `async def` runs on the event loop and must not touch the ORM;
any other runs in a thread. Its docstring is what the reference says of the endpoint; its first sentence says
what the endpoint does.

The same declaration is what apps.messaging.server_api.openapi describes: types say their JSON schema, the
example of the answer is where the schema of the answer comes from.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Generic, TypeVar

from django.utils import timezone

from apps.accounts.directory import TenantEntry
from apps.accounts.signatures import BAD_SIGNATURE, LOCKED
from apps.messaging.server_api.body import Fields
from apps.routing.protocol.messages import strict_json

ID_MAX = 64  # bytes of a user, group or chatroom id
INTERNAL, PARAMETER, NOT_FOUND, GROUP_FULL = 1000, 1002, 404, 405
NOT_OFFERED, BODY_TOO_LARGE, TIMEOUT = 1009, 1508, 1050
TOO_MANY_WORDS = 1019
TOO_OFTEN, TOO_MANY, TOO_MANY_USERS = 1008, 1502, 2007  # past a quota of the tenant
# Business code -> HTTP status. SDKs fail over to another host on 5xx, so those mean "try again" only.
HTTP_STATUS = {
    200: 200,
    NOT_FOUND: 404,
    GROUP_FULL: 405,
    INTERNAL: 500,
    PARAMETER: 400,
    BAD_SIGNATURE: 401,
    LOCKED: 401,
    NOT_OFFERED: 430,
    TIMEOUT: 504,
    BODY_TOO_LARGE: 400,
    TOO_MANY_WORDS: 403,
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


T = TypeVar("T")
Schema = dict[str, Any]
MAX_BYTES = "x-max-bytes"  # JSON schema counts characters; every one of them is a byte at least


@dataclass(frozen=True, eq=False)
class Type(Generic[T]):
    """A type of parameters: how one is read from its text, raising ValueError, and how JSON schema has it."""

    read: Callable[[str], T]
    schema: Schema

    def __call__(self, text: str) -> T:
        return self.read(text)


def described(**schema: Any) -> Callable[[Callable[[str], T]], Type[T]]:
    """Make a type of a function that reads it."""
    return lambda read: Type(read, schema)


@described(type="string", minLength=1, maxLength=ID_MAX, **{MAX_BYTES: ID_MAX})
def identifier(text: str) -> str:
    if len(text.encode()) > ID_MAX:
        raise ValueError(f"is longer than {ID_MAX} bytes")
    if not text.isprintable() or "," in text:  # lists of ids may be joined by commas
        raise ValueError("has characters that an id must not have")
    return text


def text(max_bytes: int) -> Type[str]:
    def read(text: str) -> str:
        if len(text.encode()) > max_bytes:
            raise ValueError(f"is longer than {max_bytes} bytes")
        if "\0" in text:
            raise ValueError("has a NUL character")
        return text

    return Type(read, {"type": "string", "maxLength": max_bytes, MAX_BYTES: max_bytes})


def integer(low: int, high: int) -> Type[int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return Type(read, {"type": "integer", "minimum": low, "maximum": high})


LAST_MOMENT = 253_402_300_799_999  # ms: the end of the year 9999


def clock(at: int) -> str:
    """A time of epoch ms as the older answers show it, in the installation's time zone."""
    at = min(at, LAST_MOMENT - 86_400_000)  # of any time zone
    return timezone.localtime(datetime.fromtimestamp(at / 1000, UTC)).strftime("%Y-%m-%d %H:%M:%S")


@described(type="boolean")
def flag(text: str) -> bool:
    """0 or 1, or a boolean as this or that language prints it."""
    if text.lower() not in ("0", "1", "true", "false"):
        raise ValueError("must be 0, 1, true or false")
    return text.lower() in ("1", "true")


def json_object(max_bytes: int) -> Type[dict[str, Any]]:
    limited = text(max_bytes)

    def read(text: str) -> dict[str, Any]:
        limited(text)
        try:
            found = strict_json(text)
            json.dumps(
                found, ensure_ascii=False
            ).encode()  # half a surrogate pair can be spelled, not sent on
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ValueError("must be a JSON object")
        return found

    return Type(read, {"type": "object", MAX_BYTES: max_bytes})


@dataclass(frozen=True)
class Param:
    """A parameter. One that is present and empty counts as absent, unless `may_be_empty`.

    `most` > 1 makes it a list: the parameter repeated, or ids joined by commas. An absent list is empty.
    `about` is a sentence for the reference, if the name means something else than it does elsewhere.
    """

    name: str
    parse: Callable[[str], Any]
    required: bool = False
    default: Any = None
    most: int = 1
    may_be_empty: bool = False
    about: str = ""
    shown: bool = False  # in examples, though it may be left out

    @property
    def schema(self) -> Schema:
        """JSON schema of one value of it. A type that does not describe itself is a text."""
        return getattr(self.parse, "schema", {"type": "string"})

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
        if "" in given and not self.may_be_empty:
            raise Refused(PARAMETER, f"{self.name} has an empty value.")
        try:
            return [self.parse("" if item == "null" and self.may_be_empty else item) for item in given]
        except ValueError as error:
            raise Refused(PARAMETER, f"{self.name} {error}.") from None


@dataclass(frozen=True)
class MapParam(Param):
    """Parameters `name[key]=value` as one dict. `parse` is for the keys, `parse_value` for what they have."""

    parse_value: Callable[[str], Any] = str

    @property
    def schema(self) -> Schema:
        value: Schema = getattr(self.parse_value, "schema", {"type": "string"})
        return {"type": "object", "additionalProperties": value, "maxProperties": self.most}

    def _nested(self, fields: Fields) -> dict[str, str]:
        """What a JSON body has under the name itself: an object of texts."""
        try:
            found = json.loads(fields[self.name][0])
        except (KeyError, IndexError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        pairs = islice(found.items(), self.most + 1)  # one more is too many already
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in pairs}

    def value(self, fields: Fields) -> dict[Any, Any]:
        begin = f"{self.name}["
        given = self._nested(fields) or {
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
    """One valid request. `base`: scheme and host of this server, as its caller reaches it."""

    tenant: TenantEntry
    values: dict[str, Any]
    base: str = ""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True)
class Endpoint:
    """`answer`: an example of what a success answers besides its code.

    In it, a name that ends with `?` is not always there, and one in angle brackets stands for any name.
    `errors`: the codes of refusals besides those that every endpoint may answer.
    """

    path: str
    params: tuple[Param, ...]
    handler: Handler
    answer: Answer
    errors: tuple[int, ...]
    says: str

    def call(self, tenant: TenantEntry, fields: Fields, base: str = "") -> Call:
        """The request with its values checked; what is not declared is ignored. Raises Refused."""
        return Call(tenant, {param.name: param.value(fields) for param in self.params}, base)


ENDPOINTS: dict[str, Endpoint] = {}


def endpoint(
    path: str, *params: Param, answer: Answer | None = None, errors: tuple[int, ...] = (), summary: str = ""
) -> Callable[[Handler], Handler]:
    """Declare the handler of a path, which is written without suffix.

    `summary` is for handlers that are made several times; what others do is in their docstring.
    """

    def declare(handler: Handler) -> Handler:
        says = " ".join((summary or inspect.getdoc(handler) or "").split())
        ENDPOINTS[path] = Endpoint(path, params, handler, answer or {}, errors, says)
        return handler

    return declare
