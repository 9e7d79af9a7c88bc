"""`/push…`: who is an audience, and what reaches it."""

import asyncio
import http.client
import json
import uuid
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from apps.accounts.directory import TenantEntry
from apps.messaging.server_api import push
from apps.messaging.server_api.body import parse
from apps.messaging.server_api.declarations import ENDPOINTS, Refused
from bench.tokens import App
from tests.accounts.tenants import signed
from tests.conftest import WholeStack
from tests.messaging.server_api.live import PATIENCE, online
from tests.messaging.server_api.test_system import Reader

ALICES = TenantEntry(1, "Alice's", "key", "secret")
PLATFORMS = ["ios", "android"]


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def message(text: str) -> dict[str, str]:
    return {"objectName": "RC:TxtMsg", "content": json.dumps({"content": text})}


def post(app: App, path: str, **body: Any) -> dict[str, Any]:
    """The answer to a call with a JSON body."""
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=PATIENCE)
    try:
        headers = signed(TenantEntry(0, "", app.key, app.secret)) | {"Content-Type": "application/json"}
        connection.request("POST", f"{path}.json", json.dumps(body), headers)
        response = connection.getresponse()
        return {"status": response.status, **json.loads(response.read())}
    finally:
        connection.close()


def test_a_message_reaches_those_who_have_the_tags_and_nobody_else(app: App) -> None:
    names = alice, bob, carol, mallory = [new(name) for name in ("alice", "bob", "carol", "mallory")]
    city, other, sex = new("city"), new("city"), new("sex")
    for users, tags in (([alice], [city, sex]), ([bob], [other, sex]), ([carol], [sex]), ([mallory], [city])):
        assert post(app, "/user/tag/batch/set", userIds=users, tags=tags)["code"] == 200

    async def send(**body: Any) -> dict[str, Any]:
        answer = await asyncio.to_thread(post, app, "/push", platform=PLATFORMS, **body)
        assert answer["code"] == 200, answer
        return answer

    async def scenario() -> None:
        async with online(app, names) as clients:
            readers = [Reader(client, name) for client, name in zip(clients, names, strict=True)]
            for reader in readers:
                await reader.pull()
            tagged = {"tag": [sex], "tag_or": [city, other], "is_to_all": False}
            both = {"notification": {"alert": "psst", "title": "T"}, "fromuserid": "news"}
            answer = await send(audience=tagged, message=message("tagged"), **both)
            assert len(answer["id"]) == 22 and "messageUID" not in answer
            for reader in readers[:2]:
                found = await reader.sees("tagged")
                assert (found.type, found.fromUserId, found.pushContent) == (6, "news", "psst")
            answer = await send(
                audience={"userid": [carol], "tag": [city], "packageName": "p"},
                message=message("one"),
                fromuserid="news",
            )
            assert (await readers[2].sees("one")).msgId == answer["messageUID"]
            escaped = {"objectName": "RC:TxtMsg", "content": quote(message("all")["content"])}
            answer = await send(audience={"is_to_all": True}, message=escaped, fromuserid="news")
            for reader in readers:
                assert (await reader.sees("all")).msgId == answer["messageUID"]
        # Everything that was sent to them has come before what was sent to all.
        async with online(app, [carol, mallory]) as clients:
            texts = [
                [json.loads(m.content)["content"] for m in await Reader(client, name).pull() if m.type == 6]
                for client, name in zip(clients, (carol, mallory), strict=True)
            ]
            assert "tagged" not in texts[0] + texts[1] and "one" in texts[0] and "one" not in texts[1]
        assert "messageUID" not in await send(
            audience={"tag": [new("nobodys")]}, message=message("x"), fromuserid="n"
        )

    asyncio.run(scenario())


def test_a_notification_alone_is_recorded_and_calls_that_are_for_phones_only_are_refused(app: App) -> None:
    audience = {"userid": ["1"], "is_to_all": False}
    first, second = (
        post(app, "/push", platform=PLATFORMS, audience=audience, notification={"alert": "a"})
        for _ in range(2)
    )
    assert first["code"] == second["code"] == 200 and first["id"] != second["id"]
    for path, body in (
        ("/push/user", {"userIds": ["1"], "notification": {"pushContent": "x"}}),
        ("/push/custom", {"platform": PLATFORMS, "audience": audience, "notification": {"alert": "x"}}),
    ):
        answer = post(app, path, **body)
        assert (answer["status"], answer["code"]) == (430, 1009) and "phones" in answer["errorMessage"]
        assert post(app, path)["code"] == 1002


def test_a_push_is_on_record_with_its_audience_for_thirty_days(
    alices: TenantEntry, mallorys: TenantEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.messaging import log, user_tags
    from apps.messaging.models import PushRecord

    def recorded(tenant: TenantEntry, number: str, audience: dict[str, Any]) -> None:
        given = {"platform": PLATFORMS, "audience": audience, "notification": {"alert": "a" * 300}}
        call = ENDPOINTS["/push"].call(tenant, parse(json.dumps(given).encode()))
        push._record(call, number, push._audience(call))

    user_tags.replace(alices.id, ["alice", "bob"], ["vip"])
    for tenant, number in ((alices, "old"), (mallorys, "theirs")):
        PushRecord.objects.create(tenant=tenant.id, push=number, at=log.now() - push.RECORD_KEPT - 1)
    recorded(alices, "first", {"tag": ["vip"]})
    recorded(alices, "second", {"is_to_all": "true", "userid": ["alice"]})
    recorded(TenantEntry(0, "", "", ""), "elsewhere", {"tag": ["vip"]})
    rows = PushRecord.objects.order_by("pk").values_list("push", "users", "platforms", "alert")
    alert, platforms = "a" * 256, "ios android"
    assert list(rows.filter(tenant=alices.id)) == [
        ("first", 2, platforms, alert),
        ("second", None, platforms, alert),
    ]
    assert rows.filter(tenant=0).get()[1] == 0  # Alice's tags are not for others
    assert rows.filter(tenant=mallorys.id).get()[0] == "theirs"
    monkeypatch.setattr(push, "AUDIENCE_MAX", 1)
    with pytest.raises(Refused) as refused:
        recorded(alices, "third", {"tag": ["vip"]})
    assert (refused.value.code, str(refused.value)[:16]) == (1002, "More than 1 user")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"platform": []}, 1002),
        ({"audience": None}, 1002),
        ({"audience": "all"}, 1002),
        ({"audience": {}}, 1002),
        ({"audience": {"is_to_all": False, "userid": []}}, 1002),
        ({"audience": {"is_to_all": "maybe"}}, 1002),
        ({"audience": {"userid": "alice"}}, 1002),
        ({"audience": {"userid": [True]}}, 1002),
        ({"audience": {"userid": ["a" * 65]}}, 1002),
        ({"audience": {"userid": [f"u{n}" for n in range(1001)]}}, 1002),
        ({"audience": {"tag": [f"t{n}" for n in range(21)]}}, 1002),
        ({"audience": {"tag_or": ["x" * 41]}}, 1002),
        ({"audience": {"tagItems": [{"tags": ["x"]}]}}, 1009),
        ({"audience": {"packageName": "com.example"}}, 1009),
        ({"audience": {"tag": ["x"], "packageName": "com.example"}}, 1009),
        ({"message": None}, 1002),
        ({"message": {"objectName": "RC:TxtMsg"}}, 1002),
        ({"message": {"content": "{}"}}, 1002),
        ({"message": {"objectName": "RC:TxtMsg", "content": "no JSON"}}, 1002),
        ({"message": {"objectName": "X", "content": "x" * (128 * 1024 + 1)}}, 1002),
        ({"fromuserid": None}, 1002),
    ],
)
async def test_what_is_not_valid_is_refused_before_anything_is_sent(
    changed: dict[str, Any], code: int
) -> None:
    body = {
        "platform": ["ios"],
        "audience": {"userid": ["alice"]},
        "message": message("x"),
        "fromuserid": "n",
    }
    fields = parse(json.dumps(body | changed).encode())
    with pytest.raises(Refused) as refused:
        call = ENDPOINTS["/push"].call(ALICES, fields)
        await ENDPOINTS["/push"].handler(call)  # type: ignore[misc]
    assert refused.value.code == code
