"""Where webhooks may go: nobody's inside, however it is written; to the address that was looked at."""

import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from apps.accounts.directory import TenantEntry
from apps.messaging.webhooks import sending
from apps.messaging.webhooks.sending import JSON, NotAllowed, is_public, post, target
from tests.messaging.webhooks.receiver import Receiver

WHO = TenantEntry(1, "t1", "key1", "secret")


@pytest.fixture(autouse=True)
def no_names() -> None:
    sending._names.clear()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://017700000001:{port}/",
        "http://0.0.0.0:{port}/",
        "http://localhost:{port}/",
        "http://LOCALHOST:{port}/",
        "http://[::1]:{port}/",
        "http://[::]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
    ],
)
def test_this_machine_is_not_sent_to_however_its_address_is_written(receiver: Receiver, url: str) -> None:
    found = post(url.format(port=receiver.port), b"{}", JSON, WHO, timeout=2)
    assert found.status == 0
    assert receiver.calls == []
    assert "not allowed" in found.note or "::" in url  # a machine may have no IPv6 at all


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.16.5.4", "172.31.255.255", "192.168.1.1", "127.0.0.53", "169.254.169.254", "0.0.0.0",
        "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
        "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::a00:1", "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)  # fmt: skip
def test_an_address_of_no_public_machine_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/", "http://",
        "http:///path", "http://user:password@example.com/", "http://user@example.com/", "http://a/#b",
        "http://example.com:99999/", "http://example.com:port/", "http://exa mple.com/", "http://[::1/",
        "http://example.com/\r\nX: y", "http://例え.jp/",
    ],
)  # fmt: skip
def test_what_is_no_plain_http_url_is_refused(url: str) -> None:
    with pytest.raises(NotAllowed):
        target(url)
    assert post(url, b"{}", JSON, WHO).note.startswith("not allowed")


def test_a_name_is_asked_once_and_what_it_says_a_moment_later_is_not_followed(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_PRIVATE = True
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != "rebinding.example":
            return real(host, port, *args, **kwargs)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.99", port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert post(f"http://rebinding.example:{receiver.port}/", b"{}", JSON, WHO).status == 200
    assert asked == ["rebinding.example"]
    (call,) = receiver.calls
    assert call.headers["host"] == f"rebinding.example:{receiver.port}"


def test_the_operator_may_allow_addresses_inside(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_PRIVATE = True
    assert post(receiver.url(), b"{}", JSON, WHO).status == 200
    (call,) = receiver.calls
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"


def test_of_an_endless_answer_only_the_beginning_is_read(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_PRIVATE = True
    monkeypatch.setattr(sending, "ANSWER_MAX", 1000)
    receiver.answer = lambda call: (200, {}, b"x" * 3_000_000)
    found = post(receiver.url(), b"{}", JSON, WHO)
    assert (found.status, len(found.body)) == (200, 1000)
    receiver.answer = lambda call: 200
    assert post(receiver.url(), b"{}", JSON, WHO).status == 200  # by a connection of its own


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the name receiver.example, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=receiver.example", "-addext", "subjectAltName=DNS:receiver.example",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def https(certificate: Path) -> Iterator[int]:
    """The port of a receiver with that certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def test_a_certificate_is_the_names_though_its_address_is_connected_to(
    https: int, certificate: Path, settings: Any
) -> None:
    settings.WEBHOOK_PRIVATE = True
    settings.WEBHOOK_CA = str(certificate / "cert.pem")
    sending._pool.cache_clear()
    for name in ("receiver.example", "mallory.example"):
        sending._names[name, https] = (float("inf"), ["127.0.0.1"])
    assert post(f"https://receiver.example:{https}/", b"{}", JSON, WHO).status == 200
    refused = post(f"https://mallory.example:{https}/", b"{}", JSON, WHO)
    assert refused.status == 0
    assert "doesn't match" in refused.note
    settings.WEBHOOK_CA = ""
    sending._pool.cache_clear()
    assert post(f"https://receiver.example:{https}/", b"{}", JSON, WHO).status == 0  # nobody vouches for it


def test_the_guides_check_knows_what_is_genuine() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "server-api.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    guides: dict[str, Any] = {}
    exec(code, guides)
    tenant = TenantEntry(1, "Alice's", "key", "secret")
    query = dict(parse_qsl(urlsplit(sending.signed("/hook?a=1", tenant)).query))
    assert guides["is_genuine"](query, "secret")
    assert not guides["is_genuine"](query, "another")
    assert not guides["is_genuine"](query | {"signTimestamp": "1"}, "secret")
