"""Files of messages: where clients upload them to, and fetch them from (PROTOCOL 4.10).

They go to an S3-compatible store, not through imcloud. Without one, and for other stores' calls, 20606. v2
knows none of these stores: it brings no key, and is refused too.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from django.conf import settings

from apps.messaging import log
from apps.messaging.own_state import Refusal, answers, text
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.packets import AckStatus

KEY_MAX = 512  # characters
NAME_MAX = 255  # characters
QUERY_MAX = 512
_METHODS = frozenset(("PUT", "POST"))  # of an upload; its parts are told apart by the query
_QUERY = frozenset(("uploads", "uploadId", "partNumber"))
_DOWNLOADS = {"minioUrl": "minio", "s3Url": "s3"}


@answers
def sign_upload(server_set: str, request: Request) -> im.GetQNupTokenOutput:
    """qnTkn: for one object of a name that the client has chosen."""
    wanted = im.GetQNupTokenInput.FromString(request.payload)
    if not settings.STORAGE_URL or not wanted.key:
        raise Refusal(AckStatus.NOT_SUPPORTED)
    key = _key(wanted.key)
    if wanted.size > settings.STORAGE_SIZE:
        raise Refusal(AckStatus.TOO_BIG)
    reply = im.GetQNupTokenOutput(
        deadline=log.now() + settings.STORAGE_LIFETIME * 1000,
        token="",
        path=key,
        ossConfig=settings.UPLOAD_TARGET,
    )
    from apps.messaging import storage  # 25 MB and 0.2 s that a worker without a store need not have

    if settings.STORAGE_KIND == "s3":
        fields = storage.upload_form(request.tenant, key)
        reply.s3BucketName = storage.bucket(request.tenant)
        reply.s3Credential, reply.s3Algorithm = fields["x-amz-credential"], fields["x-amz-algorithm"]
        reply.s3Date, reply.s3Policy = fields["x-amz-date"], fields["policy"]
        reply.s3Signature = fields["x-amz-signature"]
    else:
        method, query = (
            wanted.httpMethod.upper() or "PUT",
            text(wanted.queryString, QUERY_MAX, may_be_empty=True),
        )
        if method not in _METHODS or not {name for name, _ in parse_qsl(query, True)} <= _QUERY:
            raise ProtocolError("a request that is no part of an upload")
        headers = storage.upload_headers(request.tenant, key, method, query)
        reply.minioBucketName = storage.bucket(request.tenant)
        reply.minioAuthorization, reply.minioDate = headers["Authorization"], headers["X-Amz-Date"]
        reply.minioContentSha256 = headers["X-Amz-Content-SHA256"]
    return reply


@answers
def sign_download(server_set: str, request: Request) -> im.GetDownloadUrlOutput:
    """qnUrl and the like: a URL that is good for a while."""
    wanted = im.GetDownloadUrlInput.FromString(request.payload)
    if (
        not settings.STORAGE_URL
        or _DOWNLOADS.get(request.method, settings.STORAGE_KIND) != settings.STORAGE_KIND
    ):
        raise Refusal(AckStatus.NOT_SUPPORTED)
    from apps.messaging import storage  # as above

    name = text(wanted.fileName, NAME_MAX, may_be_empty=True)
    return im.GetDownloadUrlOutput(downloadUrl=storage.download_url(request.tenant, _key(wanted.key), name))


def _key(given: str) -> str:
    """An object's name, which never leads out of its bucket."""
    key = text(given, KEY_MAX)
    if not key.isprintable() or key.startswith("/") or re.search(r"(^|/)\.{1,2}(/|$)", key):
        raise ProtocolError("a name that no object has")
    return key


METHODS = {
    "qnTkn": sign_upload,
    **dict.fromkeys(("qnUrl", *_DOWNLOADS), sign_download),
}
