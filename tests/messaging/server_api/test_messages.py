import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from apps.accounts.directory import TenantEntry
from apps.messaging.server_api.declarations import ENDPOINTS, PARAMETER, Call, Refused
from apps.messaging.server_api.messages import up_stream
from tests.accounts.tenants import signed
from tests.conftest import WholeStack

ALICES = TenantEntry(1, "Alice's", "alices", "the secret of Alice's app")
TEXT = {"fromUserId": "alice", "toUserId": "bob", "objectName": "RC:TxtMsg", "content": '{"content":"hi"}'}

WRONG_EXPANSION = "extraContent takes 300 keys of 32 letters, digits or +=-_, with values of 4096 characters."


def valid(**fields: Any) -> Call:
    given = {
        name: value if isinstance(value, list) else [str(value)] for name, value in {**TEXT, **fields}.items()
    }
    return ENDPOINTS["/message/private/publish"].call(ALICES, given)


def refusal(**fields: Any) -> str:
    with pytest.raises(Refused) as refused:
        up_stream(valid(**fields))
    assert refused.value.code == PARAMETER
    return str(refused.value)


def test_a_plain_text_is_kept_and_counted() -> None:
    message = up_stream(valid())
    assert (message.sessionId, message.classname, message.content) == (3, "RC:TxtMsg", b'{"content":"hi"}')


@pytest.mark.parametrize(
    ("fields", "bits"),
    [
        ({"isPersisted": 0}, 2),
        ({"isCounted": "False"}, 1),
        ({"disablePush": "true"}, 0x23),
        ({"expansion": "True"}, 0x43),
        ({"isPersisted": "0", "isCounted": "0"}, 0),
    ],
)
def test_switches_become_bits_of_the_session_id(fields: dict[str, Any], bits: int) -> None:
    assert up_stream(valid(**fields)).sessionId == bits


def test_push_parameters_travel_with_the_message() -> None:
    ext = {"title": "t", "templateId": 7, "forceShowPushContent": 1, "pushConfigs": [{"APNs": {"x": "1"}}]}
    message = up_stream(valid(pushContent="c", pushData="d", pushExt=json.dumps(ext), busChannel="b"))
    assert (message.pushText, message.appData, message.busChannel) == ("c", "d", "b")
    assert (message.pushExt.title, message.pushExt.templateId, message.configFlag) == ("t", "7", 8)
    assert json.loads(message.pushExt.pushConfigs) == ext["pushConfigs"]


def test_option_bits_keep_the_last_message_and_ask_for_receipts() -> None:
    assert up_stream(valid(disableUpdateLastMsg="true", needReadReceipt=1)).optionBits == 3


def test_first_expansions_need_expansion_to_be_on() -> None:
    extra = json.dumps({"k": "v"})
    assert json.loads(up_stream(valid(expansion="true", extraContent=extra)).extraContent) == {
        "k": {"v": "v"}
    }
    assert up_stream(valid(extraContent=extra)).extraContent == ""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fromUserId": ""}, "fromUserId is required."),
        ({"toUserId": []}, "toUserId is required."),
        ({"toUserId": [f"u{i}" for i in range(1001)]}, "toUserId takes 1000 values at most."),
        ({"toUserId": "u" * 65}, "toUserId is longer than 64 bytes."),
        ({"objectName": "x" * 33}, "objectName must be 32 printable characters at most."),
        ({"content": "x" * (128 * 1024 + 1)}, "content is longer than 131072 bytes."),
        ({"content": "helloworld"}, "content must be a JSON object for objectNames that begin with RC:."),
        ({"content": "[" * 100_000}, "content must be a JSON object for objectNames that begin with RC:."),
        ({"isPersisted": "maybe"}, "isPersisted must be 0, 1, true or false."),
        ({"count": "many"}, "count must be a whole number from -1 to 2147483647."),
        ({"pushExt": "x"}, "pushExt must be a JSON object."),
        ({"expansion": 1, "extraContent": '{"not a key":"v"}'}, WRONG_EXPANSION),
        ({"expansion": 1, "extraContent": json.dumps({"k": "v" * 4097})}, WRONG_EXPANSION),
        ({"expansion": 1, "extraContent": json.dumps({f"k{n}": "v" for n in range(301)})}, WRONG_EXPANSION),
    ],
)
def test_what_is_outside_the_documented_limits_is_1002(fields: dict[str, Any], said: str) -> None:
    assert refusal(**fields) == said


def test_a_thousand_receivers_and_128_kilobytes_of_an_apps_own_type_pass() -> None:
    call = valid(toUserId=[f"u{i}" for i in range(1000)], objectName="X:Big", content="x" * 128 * 1024)
    assert len(call["toUserId"]) == 1000 and len(up_stream(call).content) == 128 * 1024


def published(
    stack: WholeStack, path: str = "/message/private/publish.json", **fields: Any
) -> dict[str, Any]:
    """A running stack's answer to the message with these parameters in place of the plain ones."""
    connection = HTTPConnection(urlsplit(stack.url).netloc, timeout=30)
    headers = signed(TenantEntry(0, "", stack.app_key, stack.app_secret))
    connection.request("POST", path, urlencode({**TEXT, **fields}, doseq=True), headers)
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    assert answer.pop("code") == 200, answer
    return answer


def test_each_receivers_copy_is_stored_under_a_uid_of_its_own(stack: WholeStack) -> None:
    receivers = [f"u{i}" for i in range(1000)]
    answer = published(stack, path="//message/private/publish", toUserId=receivers)
    assert [stored["userId"] for stored in answer["messageUIDs"]] == receivers
    uids = {stored["messageUID"] for stored in answer["messageUIDs"]}
    assert len(uids) == 1000 and all(0 < len(uid) <= 64 for uid in uids)
    assert "messageUID" not in answer


def test_a_single_receivers_uid_is_answered_twice_over(stack: WholeStack) -> None:
    answer = published(stack, isIncludeSender=1)
    assert answer["messageUIDs"] == [{"userId": "bob", "messageUID": answer["messageUID"]}]


def test_a_blacklist_is_honoured_when_the_caller_wants_it(stack: WholeStack) -> None:
    published(stack, path="/user/blacklist/add.json", userId="carol", blackUserId="alice")
    receivers: dict[str, Any] = {"toUserId": ["bob", "carol"]}
    ignoring, honouring = published(stack, **receivers), published(stack, **receivers, verifyBlacklist=1)
    assert [stored["userId"] for stored in ignoring["messageUIDs"]] == ["bob", "carol"]
    assert [stored["userId"] for stored in honouring["messageUIDs"]] == ["bob"]
    assert published(stack, toUserId="carol", verifyBlacklist=1) == {"messageUIDs": []}


def test_a_directed_message_has_no_expansion(stack: WholeStack) -> None:
    group = {"groupId": "directed", "groupName": "x", "userId": ["alice", "bob"]}
    published(stack, path="/group/create.json", **group)
    fields = {"toGroupId": "directed", "expansion": "true", "extraContent": '{"k":"v"}'}
    for to in ([], ["bob"]):
        published(stack, path="/message/group/publish.json", **fields, toUserId=to)
    wanted = {"targetId": "directed", "startTime": 253_402_300_799_999, "endTime": 0}
    directed, plain = published(stack, path="/v3/message/group/query.json", **wanted)["data"]
    assert (directed["expansion"], directed["extraContent"]) == (False, "")
    assert (plain["expansion"], json.loads(plain["extraContent"])) == (True, {"k": {"v": "v"}})
