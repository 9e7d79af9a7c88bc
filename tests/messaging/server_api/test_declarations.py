import json
from typing import Any

import pytest

from apps.messaging.server_api.declarations import (
    PARAMETER,
    Param,
    Refused,
    flag,
    identifier,
    integer,
    json_object,
    text,
)


def refusal(param: Param, *values: str) -> str:
    with pytest.raises(Refused) as refused:
        param.value({param.name: list(values)})
    assert refused.value.code == PARAMETER
    return str(refused.value)


def test_a_required_parameter_must_be_there_and_not_empty() -> None:
    user = Param("userId", identifier, required=True)
    assert refusal(user) == "userId is required."
    assert refusal(user, "") == "userId is required."
    assert user.value({"userId": ["", "alice"]}) == "alice"


def test_an_optional_one_that_is_empty_is_absent() -> None:
    assert Param("size", integer(1, 9), default=5).value({"size": [""]}) == 5


def test_a_required_one_that_may_be_empty_may_not_be_missing() -> None:
    name = Param("name", text(8), required=True, may_be_empty=True)
    assert name.value({"name": [""]}) == ""
    assert refusal(name) == "name is required."


def test_a_list_is_repeated_or_joined_and_holds_each_id_once() -> None:
    users = Param("userId", identifier, required=True, most=3)
    assert users.value({"userId": ["a,b", "c", "a"[:0]]}) == ["a", "b", "c"]
    assert users.value({"userId": ["b", "a", "b"]}) == ["b", "a"]
    assert refusal(users, "a,b,c,d") == "userId takes 3 values at most."
    assert refusal(users, ",") == "userId is required."


@pytest.mark.parametrize("value", ["a" * 65, "忘" * 22, "a\nb", "a\0", "a,b"])
def test_an_id_has_64_bytes_and_no_control_characters(value: str) -> None:
    assert refusal(Param("userId", identifier), value).startswith("userId ")


def test_ids_of_64_bytes_pass() -> None:
    for value in ("a" * 64, "忘" * 21, "a+b=c-d_e", "__SYSTEM__"):
        assert Param("userId", identifier).value({"userId": [value]}) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), ("0", False), ("true", True), ("True", True), ("false", False), ("False", False)],
)
def test_flags_come_as_every_language_prints_them(value: str, expected: bool) -> None:
    assert Param("isCounted", flag).value({"isCounted": [value]}) is expected


@pytest.mark.parametrize("value", ["2", "yes", "-1", "none"])
def test_what_is_neither_yes_nor_no_is_refused(value: str) -> None:
    assert refusal(Param("isCounted", flag), value) == "isCounted must be 0, 1, true or false."


@pytest.mark.parametrize("value", ["0", "10", "x", "1.5", "1e3", "９", "1_0", "9" * 5000])
def test_numbers_outside_their_range_or_form_are_refused(value: str) -> None:
    assert refusal(Param("size", integer(1, 9)), value) == "size must be a whole number from 1 to 9."


@pytest.mark.parametrize("value", ["[]", "x", "1", '{"a":"\\ud800"}', '{"a":' * 5000])
def test_a_json_parameter_is_an_object(value: str) -> None:
    assert refusal(Param("pushExt", json_object(1 << 20)), value) == "pushExt must be a JSON object."


def test_a_json_parameter_has_its_limit() -> None:
    param = Param("pushExt", json_object(10))
    found: Any = param.value({"pushExt": ['{"a":1}']})
    assert found == {"a": 1}
    assert refusal(param, json.dumps({"a": "long enough"})) == "pushExt is longer than 10 bytes."
