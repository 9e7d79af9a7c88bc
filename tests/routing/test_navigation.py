import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apps.accounts import tokens
from apps.accounts.directory import TenantEntry, directory
from apps.accounts.models import Tenant

FORM = "Application/x-www-form-urlencoded"  # as v5 spells it


@pytest.fixture
def alices(databases: None) -> Iterator[TenantEntry]:
    directory.renew()
    tenant = Tenant.objects.create(name="Alice's")
    found = directory.renew().by_id(tenant.pk)
    assert found is not None
    yield found
    directory.renew()


def script(path: str = "/navi.js", **query: str) -> Any:
    return Client().get(path, query, headers={"host": "im.example:8000"})


def padded(response: Any, callback: str = "getServerEndpoint") -> Any:
    """The object in a JSONP answer, taken out as v2 does it."""
    text = response.content.decode()
    assert text.startswith(f"{callback}(") and text.endswith(");")
    return json.loads(text.removeprefix(f"{callback}(").removesuffix(");"))


def document(app_key: str, body: str, **headers: str) -> Any:
    headers = {"RC-Appkey": app_key, "host": "im.example:8000", "origin": "http://page.example", **headers}
    return Client().post("/v2/navi.json?cloud=0", body, content_type=FORM, headers=headers)


@pytest.mark.parametrize("path", ["/navi.js", "/cometnavi.js"])
@pytest.mark.parametrize("suffix", ["", "@", "@http://navi.example"])
def test_v2_and_v4_get_the_address_as_a_script(alices: TenantEntry, path: str, suffix: str) -> None:
    token = tokens.issue(alices, "alice") + suffix
    response = script(path, appId=alices.app_key, token=token, callBack="getServerEndpoint", v="4.6.4", r="1")
    answer = padded(response)
    assert (response.status_code, answer["code"], answer["userId"]) == (200, 200, "alice")
    assert (answer["server"], answer["backupServer"]) == ("im.example:8000", "")
    assert response["Access-Control-Allow-Origin"] == "*"
    assert response["Content-Type"].startswith("application/javascript")


def test_what_the_sdks_must_not_be_told_otherwise(alices: TenantEntry) -> None:
    answer = padded(script(appId=alices.app_key))
    assert (answer["type"], answer["openMp"], answer["kvStorage"], answer["logSwitch"]) == (0, 0, 1, 0)
    assert (answer["joinMChrm"], answer["openHistoryMsg"]) == (True, 0)
    assert json.loads(answer["voipCallInfo"]) == {"strategy": 0} and json.loads(answer["logPolicy"]) == {}


def test_the_callback_is_the_one_asked_for_when_it_is_a_name(alices: TenantEntry) -> None:
    assert padded(script(appId=alices.app_key, callBack="x"), "x")["code"] == 200
    for callback in ("alert(1);x", "a b", "1a", "a" * 65, "<script>"):
        response = script(appId=alices.app_key, callBack=callback)
        assert response.status_code == 400 and callback not in response.content.decode()


def test_mallorys_token_gets_the_address_and_no_user_id(alices: TenantEntry) -> None:
    mallorys = TenantEntry(alices.id + 1, "Mallory's", "mallorys", "her secret")
    for token in ("", "nonsense", tokens.issue(mallorys, "alice")):
        answer = padded(script(appId=alices.app_key, token=token))
        assert (answer["code"], answer["server"], answer["userId"]) == (200, "im.example:8000", "")
        answer = document(alices.app_key, f"token={token}&v=5.38.0").json()
        assert (answer["code"], len(answer["serverAddr"]), answer["userId"]) == (200, 1, "")


def test_an_unknown_app_key_is_403_in_bare_json(alices: TenantEntry) -> None:
    for response in (script(appId="nosuchkey", token="t"), document("nosuchkey", "token=t")):
        assert (response.status_code, response.json()) == (403, {"code": 403})
        assert response["Access-Control-Allow-Origin"] == "*"


def test_v5_gets_the_address_as_a_document(alices: TenantEntry) -> None:
    token = tokens.issue(alices, "alice")
    response = document(
        alices.app_key,
        f"token={token}%40&v=5.38.0&platfrom=browser",
        **{"RC-Negotiate": "conn=5;rtc=4;log=2;iptype=v4,v6"},
    )
    answer = response.json()
    assert (answer["code"], answer["userId"], answer["openHistoryMsg"]) == (200, "alice", 0)
    assert answer["serverAddr"] == [{"addr": "im.example:8000", "protocol": 5, "weight": 1}]


def test_v5_on_a_secure_page_is_told_to_use_wss(alices: TenantEntry) -> None:
    answer = document(alices.app_key, "token=t", **{"RC-Negotiate": "conn=6;rtc=4"}).json()
    assert answer["serverAddr"][0]["protocol"] == 6


@pytest.mark.parametrize("body", ["", "\x00%", "token", "token=" + "x" * 20_000])
def test_v5s_odd_bodies_are_wrong_tokens(alices: TenantEntry, body: str) -> None:
    assert document(alices.app_key, body).json()["userId"] == ""


def test_a_body_that_is_not_utf8_is_a_wrong_token(alices: TenantEntry) -> None:
    headers = {"RC-Appkey": alices.app_key}
    response = Client().post("/v2/navi.json", b"token=\xff", content_type=FORM, headers=headers)
    assert response.json()["userId"] == ""


def test_a_configured_address_is_handed_out_instead_of_the_host(alices: TenantEntry, settings: Any) -> None:
    settings.PUBLIC_ADDRESS = "gateway.example:443"
    assert padded(script(appId=alices.app_key))["server"] == "gateway.example:443"


@pytest.mark.parametrize("path", ["/v2/navi.json", "/navi.js", "/cometnavi.js", "/ping"])
def test_the_preflight_allows_what_v5_sends(path: str) -> None:
    response = Client().options(path, headers={"origin": "http://page.example"})
    allowed = response["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in ("rc-appkey", "rc-negotiate", "content-type"))
    assert response["Access-Control-Allow-Origin"] == "*"
    assert response.status_code == 204 and "OPTIONS" in response["Access-Control-Allow-Methods"]


def test_ping_is_answered_to_every_origin() -> None:
    response = Client().get("/ping?r=1", headers={"origin": "http://page.example"})
    assert (response.status_code, response["Access-Control-Allow-Origin"]) == (200, "*")


@pytest.mark.parametrize(
    ("method", "path"), [("get", "/v2/navi.json"), ("post", "/navi.js"), ("put", "/ping")]
)
def test_other_methods_are_405(method: str, path: str) -> None:
    response = getattr(Client(), method)(path)
    assert response.status_code == 405 and response["Allow"]
