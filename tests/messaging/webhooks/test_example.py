"""The receiver of docs/webhooks.md, as it is written there."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from apps.accounts.directory import TenantEntry
from apps.messaging.webhooks.sending import FORM, post
from imcloud.config import BASE_DIR
from tests.conftest import wait_for

OWNER = TenantEntry(1, "t1", "ann", "secret-1")
MALLORY = TenantEntry(1, "t1", "ann", "guessed")
STRANGER = TenantEntry(2, "t2", "someone", "secret-2")


@pytest.fixture
def example(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Its URL, and what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (BASE_DIR / "docs" / "webhooks.md").read_text(), re.S)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = code.replace('"your-app-key": "your-app-secret"', '"ann": "secret-1"').replace("8800", str(port))
    (tmp_path / "receiver.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "receiver.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def listens() -> bool:
        with socket.socket() as there:
            return there.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listens, 10, "it does not start")
        yield f"http://127.0.0.1:{port}/", process.stdout
    finally:
        process.kill()
        process.wait()


def test_the_example_takes_what_is_signed_and_each_message_once(
    example: tuple[str, Any], settings: Any
) -> None:
    settings.WEBHOOK_PRIVATE = True
    url, printed = example
    said = [urlencode({"fromUserId": "a", "toUserId": "b", "content": text}).encode() for text in "123"]
    assert post(url, said[0], FORM, MALLORY, ["id-1"]).status == 401
    assert post(url, said[0], FORM, STRANGER, ["id-1"]).status == 401
    assert post(url, said[1], FORM, OWNER, ["id-2"]).status == 200
    assert post(url, said[1], FORM, OWNER, ["id-2"]).status == 200
    assert post(url, said[2], FORM, OWNER, ["id-3"]).status == 200
    assert [printed.readline(), printed.readline()] == ["a to b 2\n", "a to b 3\n"]
