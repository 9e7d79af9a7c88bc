import logging
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.accounts.directory import TenantEntry
from apps.accounts.models import Tenant
from apps.messaging.server_api import registration, view
from apps.routing.topology import topology
from tests.accounts.tenants import renewed, signed
from tests.messaging.server_api.calls import post

TOKEN = "/user/getToken.json"
GOOD = b"userId=alice&name=Alice"


@pytest.mark.parametrize(
    "path", ["/user/getToken.json", "/user/getToken", "//user/getToken.json", "/user//getToken.json"]
)
def test_each_form_of_a_path_leads_to_its_endpoint(alices: TenantEntry, path: str) -> None:
    response = post(path, GOOD, signed(alices))
    assert (response.status_code, response.json()["userId"]) == (200, "alice")
    assert response["Content-Type"] == "application/json; charset=utf-8"
    assert type(response.json()["code"]) is int


@pytest.mark.parametrize(
    "path", ["/user/getToken.xml.json", "/no/such/thing.json", "/group/conjure.json", "/x"]
)
def test_an_unknown_path_is_404_in_the_apis_own_form(path: str) -> None:
    response = post(path, GOOD, {})
    assert response.status_code == 404
    assert response.json()["code"] == 404 and response.json()["url"] == path


def test_get_is_no_way_to_call_it(alices: TenantEntry) -> None:
    assert post(TOKEN, b"", signed(alices), method="GET").json()["code"] == 404


@pytest.mark.parametrize("prefix", ["", "RC-", "rc-"])
def test_both_spellings_of_the_headers_are_taken(alices: TenantEntry, prefix: str) -> None:
    assert post(TOKEN, GOOD, signed(alices, prefix)).json()["code"] == 200


def test_mallory_cannot_call_in_the_name_of_alices_app(alices: TenantEntry, mallorys: TenantEntry) -> None:
    response = post(TOKEN, GOOD, {**signed(mallorys), "App-Key": alices.app_key})
    assert (response.status_code, response.json()["code"]) == (401, 1004)


def test_unsigned_calls_are_refused_before_their_body_is_looked_at(alices: TenantEntry) -> None:
    response = post(TOKEN, b"\xff" * 2_000_000, {})
    assert (response.status_code, response.json()["code"]) == (401, 1004)


def test_a_locked_app_is_told_so_and_an_old_secret_is_not_taken(
    tenants: tuple[Tenant, Tenant], alices: TenantEntry
) -> None:
    tenants[0].state = Tenant.State.LOCKED
    tenants[0].save()
    renewed()
    response = post(TOKEN, GOOD, signed(alices))
    assert (response.status_code, response.json()["code"]) == (401, 1006)
    tenants[0].rotate_secret()
    renewed()
    assert post(TOKEN, GOOD, signed(alices)).json()["code"] == 1004


def test_json_is_taken_by_its_content(alices: TenantEntry) -> None:
    response = post(TOKEN, b'{"userId": "alice", "name": "A"}', signed(alices), content_type="text/plain")
    assert response.json()["userId"] == "alice"


@pytest.mark.parametrize("body", [b"{", b"userId=%FF&name=x", b"", b"userId=&name=x", b"userId=a%00&name=x"])
def test_bad_bodies_are_1002(alices: TenantEntry, body: bytes) -> None:
    response = post(TOKEN, body, signed(alices))
    assert (response.status_code, response.json()["code"]) == (400, 1002)


@pytest.mark.parametrize("size", [(1 << 20) + 1, 3 << 20])
def test_a_body_over_one_megabyte_is_1508(alices: TenantEntry, size: int) -> None:
    response = post(TOKEN, GOOD.ljust(size, b"x"), signed(alices))
    assert (response.status_code, response.json()["code"]) == (400, 1508)


def test_the_request_id_is_echoed_when_it_is_harmless(alices: TenantEntry) -> None:
    assert post(TOKEN, GOOD, {**signed(alices), "X-Request-ID": "id-1"})["X-Request-ID"] == "id-1"
    assert "X-Request-ID" not in post(TOKEN, GOOD, {**signed(alices), "X-Request-ID": "x" * 37})


def test_xml_answers_xml(alices: TenantEntry) -> None:
    response = post("/user/getToken.xml", b"userId=a%3Cb&name=Alice", signed(alices))
    text = response.content.decode()
    assert response["Content-Type"].startswith("application/xml")
    assert text.startswith(
        '<?xml version="1.0" encoding="UTF-8"?><result><code>200</code><userId>a&lt;b</userId>'
    )
    assert "<code>1004</code>" in post("/user/getToken.xml", GOOD, {}).content.decode()


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())))
def test_whatever_the_keys_an_answer_is_well_formed_xml(answer: dict[str, Any]) -> None:
    ElementTree.fromstring(view._xml(answer, 200).content)


def test_trouble_of_our_own_is_logged_and_answered_as_an_internal_error(
    alices: TenantEntry, caplog: pytest.LogCaptureFixture
) -> None:
    topology.renew()  # without any SET there is no place for a blacklist
    with caplog.at_level(logging.ERROR):
        response = post("/user/blacklist/query", b"userId=alice", signed(alices))
    assert (response.status_code, response.json()["code"]) == (500, 1000)
    assert "Traceback" not in response.content.decode() and caplog.records[0].exc_info


def test_too_many_waiting_calls_are_told_to_retry(
    alices: TenantEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "WAITING_MAX", 0)
    monkeypatch.setattr(registration, "WAITING_MAX", 0)
    for path in (TOKEN, "/user/info"):
        response = post(path, GOOD, signed(alices))
        assert (response.status_code, response.json()["code"]) == (500, 1000)
