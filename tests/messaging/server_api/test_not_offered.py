import pytest

from apps.messaging.server_api.not_offered import why
from apps.messaging.server_api.view import ENDPOINTS
from tests.messaging.server_api.calls import post

# Of each kind that the published SDKs can call, with its method.
NOT_OFFERED = """
    POST /ultragroup/create.json
    POST /ultragroup/channel/private/users/get.json
    POST /v2/ultragroups
    DELETE /v2/ultragroups/g1
    PUT /v2/ultragroups/g1/muted-status
    GET /v2/ultragroups/users/alice/groups
    POST /v2/message/ultragroup/send
    POST /message/ultragroup/publish.json
    POST /v3/message/ultragroup/query.json
    POST /entrust/group/create.json
    POST /entrust/joined/group/query.json
    POST /friend/add.json
    POST /user/profile/batch/query.json
    POST /v3/bot/integration/create.json
    GET /v3/agent/get.json
    POST /v3/chat/generate.json
    GET /getImgCode.json
    POST /sendCode.json
    POST //verifyCode
    POST /rtc/user/block.xml
"""


@pytest.mark.parametrize("line", NOT_OFFERED.split("\n")[1:-1])
def test_what_the_sdks_can_call_and_is_not_offered_is_told_so(line: str) -> None:
    method, path = line.split()
    response = post(path, b"", {}, method=method)
    assert response.status_code == 430
    if path.endswith(".xml"):
        assert "<code>1009</code>" in response.content.decode()
    else:
        answer = response.json()
        assert (answer["code"], answer["url"]) == (1009, path.replace("//", "/"))
        assert answer["errorMessage"].endswith(" not offered by imcloud.")


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v3", "/v2/x", "/ultragroups", "/friends/add", "/user/profiles", "/getImgCodes", "/rtcx"],
)
def test_what_nobody_knows_is_not_found_all_the_same(path: str) -> None:
    assert post(path, b"", {}).json()["code"] == 404


def test_no_endpoint_is_among_what_is_not_offered() -> None:
    assert not [path for path in ENDPOINTS if why(path)]
