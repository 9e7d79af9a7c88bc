"""What documents tell people to type, typed; what is larger than any body, sent."""

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from apps.messaging.server_api import reference
from apps.messaging.server_api.declarations import NOT_OFFERED
from apps.messaging.server_api.view import ENDPOINTS
from bench.tokens import App
from imcloud.management.commands.serve import BODY_KEPT, BODY_MAX
from tests.messaging.server_api.live import app_of_its_own, headers

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "server-api.md").read_text()
typed = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")


@pytest.fixture(scope="module")
def app(stack: Any) -> App:
    return app_of_its_own(stack, "reference")


def bash(app: App, script: str) -> str:
    environment = {"API": app.url, "APP_KEY": app.key, "APP_SECRET": app.secret, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-euc", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@typed
def test_the_examples_of_the_reference_are_answered_with_success(app: App) -> None:
    page = reference.page(None).content.decode()  # type: ignore[arg-type]
    (function,) = re.findall(r"^imcloud\(\) \{.*?^\}", page, re.DOTALL | re.MULTILINE)
    function = function.replace("&quot;", '"')
    calls = [f"{reference.curl(endpoint)}; echo" for endpoint in ENDPOINTS.values()]
    answers = bash(app, "\n".join([function, *calls])).splitlines()
    failed = []
    for endpoint, said in zip(ENDPOINTS.values(), answers, strict=True):
        if json.loads(said)["code"] not in {200, *endpoint.errors} & {200, NOT_OFFERED}:
            failed.append((endpoint.path, said))
    assert not failed


@typed
def test_the_first_token_of_the_guide_is_given(app: App) -> None:
    shell = re.search(r"### curl\n(.*?)### Python", GUIDE, re.DOTALL)
    assert shell
    script = "\necho\n".join(re.findall(r"```sh\n(.*?)```", shell[1], re.DOTALL))
    token, message = bash(app, script).split()
    assert token.startswith('{"code":200,"userId":"alice","token":"')
    assert message.startswith('{"code":200,"messageUIDs":[{"userId":"alice"')


def test_the_guides_codes_are_those_that_are_answered() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (.+) \|$", GUIDE, re.MULTILINE)
    assert rows == [(str(code), str(status), meaning) for code, status, meaning in reference.codes()]


@pytest.mark.parametrize(
    ("said", "paths", "name"),
    [
        ("receivers of `/message/private/publish` | 1000", ["/message/private/publish"], "toUserId"),
        ("receivers of `/message/system/publish` | 100", ["/message/system/publish"], "toUserId"),
        ("groups of `/message/group/publish` | 3", ["/message/group/publish"], "toGroupId"),
        ("chatrooms of `/message/chatroom/publish` | 10", ["/message/chatroom/publish"], "toChatroomId"),
        (
            "users of `/group/create`, `/group/join`, `/group/quit` | 1000",
            ["/group/create", "/group/join", "/group/quit"],
            "userId",
        ),
        ("users of most other lists, such as `/user/block` | 20", ["/user/block"], "userId"),
    ],
)
def test_the_guides_limits_are_those_that_are_declared(said: str, paths: list[str], name: str) -> None:
    assert f"| {said} |" in GUIDE
    for path in paths:
        assert [p.most for p in ENDPOINTS[path].params if p.name == name] == [int(said.split()[-1])]


def chunked(app: App, size: int) -> bytes:
    """The answer to a body of unknown length; what the server sends until it closes the connection."""
    address = urlsplit(app.url)
    lines = ["POST /user/block/query.json HTTP/1.1", f"Host: {address.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers(app).items()]
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""])
    chunk = b"%x\r\n%s\r\n" % (1 << 16, b"x" * (1 << 16))
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(head.encode())
        for _ in range(size >> 16):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


def test_a_long_body_is_refused_also_when_its_length_is_not_told(app: App) -> None:
    assert b'{"code":1508,' in chunked(app, BODY_KEPT + (4 << 20))


def test_a_caller_whose_body_has_no_end_is_cut_off(app: App) -> None:
    with pytest.raises(OSError):
        chunked(app, BODY_MAX + (8 << 20))
