"""Calls of the server API inside this process."""

from typing import Any
from urllib.parse import urlencode

from django.test import Client

from apps.accounts.directory import TenantEntry
from tests.accounts.tenants import signed
from tests.messaging.server_api.documented import check_answer, check_refusal

FORM = "application/x-www-form-urlencoded"


def post(
    path: str, body: bytes, headers: dict[str, str], *, content_type: str = FORM, method: str = "POST"
) -> Any:
    """The response to a raw request."""
    # With a host before it, a path that begins with two slashes is not taken for one.
    url = f"http://testserver{path}"
    return Client().generic(method, url, body, content_type=content_type, headers=headers)


def call(tenant: TenantEntry, path: str, **fields: Any) -> dict[str, Any]:
    """The answer to a good call, without its code."""
    response = post(f"{path}.json", urlencode(fields, doseq=True).encode(), signed(tenant))
    answer: dict[str, Any] = response.json()
    assert (response.status_code, answer["code"]) == (200, 200), answer
    check_answer(path, answer)
    del answer["code"]
    return answer


def refused(tenant: TenantEntry, path: str, **fields: Any) -> tuple[int, int, str]:
    """(HTTP status, code, message) of a bad call."""
    response = post(f"{path}.json", urlencode(fields, doseq=True).encode(), signed(tenant))
    answer = response.json()
    assert answer["url"] == f"{path}.json"
    check_refusal(path, answer["code"])
    return response.status_code, answer["code"], answer["errorMessage"]
