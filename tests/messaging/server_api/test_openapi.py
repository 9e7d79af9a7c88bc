import json
import re
from typing import Any

import pytest
from django.test import Client
from openapi_spec_validator import OpenAPIV31SpecValidator

from apps.messaging.server_api import openapi
from apps.messaging.server_api.declarations import HTTP_STATUS, Param, integer, text
from apps.messaging.server_api.view import ENDPOINTS


def served() -> dict[str, Any]:
    response = Client().get("/api/openapi.json")
    assert (response.status_code, response["Content-Type"]) == (200, "application/json; charset=utf-8")
    document: dict[str, Any] = json.loads(response.content)
    return document


def test_the_document_is_valid_openapi() -> None:
    errors = [error.message for error in OpenAPIV31SpecValidator(served()).iter_errors()]
    assert errors == []


def test_every_endpoint_is_in_the_document() -> None:
    assert set(served()["paths"]) == {f"{path}.json" for path in ENDPOINTS}


def test_calls_are_described_as_signed() -> None:
    document = served()
    (security,) = document["security"]
    assert set(security) == {"App-Key", "Nonce", "Timestamp", "Signature"}
    assert all(document["components"]["securitySchemes"][name]["in"] == "header" for name in security)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_endpoint_says_in_a_sentence_what_it_does(path: str) -> None:
    assert re.match(r"[A-Z].+\.$", ENDPOINTS[path].says), "its docstring, or summary="


def test_every_code_has_a_meaning_and_no_other_has() -> None:
    assert set(openapi.MEANING) == set(HTTP_STATUS)
    assert {code for each in ENDPOINTS.values() for code in each.errors} <= set(HTTP_STATUS)


def test_a_parameters_schema_has_its_limits() -> None:
    assert openapi.param_schema(Param("size", integer(1, 9), default=5)) == {
        "type": "integer", "minimum": 1, "maximum": 9, "default": 5, "description": "How many on a page."
    }  # fmt: skip
    names = openapi.param_schema(Param("x", text(8), required=True, most=3))
    assert (names["type"], names["minItems"], names["maxItems"]) == ("array", 1, 3)
    assert (names["items"]["minLength"], names["items"]["maxLength"]) == (1, 8)


def test_an_answers_schema_is_that_of_its_example() -> None:
    example = {"users": [{"id": "alice", "name?": "A"}], "more?": True, "of": {"<id>": [1]}}
    schema = openapi.answer_schema(example)
    assert schema["required"] == ["users", "of"]
    assert schema["properties"]["users"]["items"]["required"] == ["id"]
    assert schema["properties"]["of"]["additionalProperties"] == {
        "type": "array",
        "items": {"type": "integer"},
    }
    assert openapi.shown(example) == {
        "users": [{"id": "alice", "name": "A"}],
        "more": True,
        "of": {"<id>": [1]},
    }


def test_the_reference_has_every_endpoint_and_needs_nothing_from_elsewhere() -> None:
    page = Client().get("/api/docs").content.decode()
    for endpoint in ENDPOINTS.values():
        assert f"POST {endpoint.path}.json</a>" in page
        for param in endpoint.params:
            assert f"<code>{param.name}</code>" in page
    for code in HTTP_STATUS:
        assert f'id="code-{code}"' in page
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
