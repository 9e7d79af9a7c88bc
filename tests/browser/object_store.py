"""A stand-in for an S3-compatible store: takes uploads and gives downloads whose signatures are right.

It speaks as MinIO does, buckets in the path, and lets pages of every origin upload.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET, REGION = "the-key", "the-secret", "us-east-1"
_KEYS = Credentials(KEY, SECRET)


class ObjectStore:
    """On a free port of the loopback address until it is closed."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}  # path -> content type, content
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.objects))
        threading.Thread(target=self._server.serve_forever, name="object-store", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        """What imcloud needs to know of it."""
        return {"STORAGE_URL": self.url, "STORAGE_KEY": KEY, "STORAGE_SECRET": SECRET}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _upload_signature(method: str, url: str, headers: dict[str, str]) -> str:
    request = AWSRequest(method, url, headers=headers)
    request.context["timestamp"] = headers["X-Amz-Date"]
    auth = S3SigV4Auth(_KEYS, "s3", REGION)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def _download_signature(url: str, date: str) -> str:
    request = AWSRequest("GET", url.partition("&X-Amz-Signature=")[0])
    request.context["timestamp"] = date
    auth = S3SigV4QueryAuth(_KEYS, "s3", REGION)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def _handler(objects: dict[str, tuple[str, bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self._answer(204)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            signed = {name: self.headers.get(name, "") for name in ("X-Amz-Date", "X-Amz-Content-SHA256")}
            right = _upload_signature("PUT", self._url, signed)
            if not self.headers.get("Authorization", "").endswith(f"Signature={right}"):
                self._answer(403)
                return
            objects[self.path] = (self.headers["Content-Type"] or "binary/octet-stream", body)
            self._answer(200)

        def do_DELETE(self) -> None:
            objects.pop(self.path, None)
            self._answer(204)

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            given = asked.get("X-Amz-Signature", [""])[0]
            if given != _download_signature(self._url, asked.get("X-Amz-Date", [""])[0]):
                self._answer(403)
                return
            kind, content = objects.get(urlsplit(self.path).path, ("", b""))
            self._answer(200 if kind else 404, kind, content)

        @property
        def _url(self) -> str:
            return f"http://{self.headers['Host']}{self.path}"

        def _answer(self, status: int, kind: str = "", content: bytes = b"") -> None:
            self.send_response(status)
            for name in ("Origin", "Methods", "Headers"):
                self.send_header(f"Access-Control-Allow-{name}", "*")
            # The star does not stand for this one.
            self.send_header("Access-Control-Allow-Headers", "Authorization")
            if kind:
                self.send_header("Content-Type", kind)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Not on the console of the tests."""

    return Handler
