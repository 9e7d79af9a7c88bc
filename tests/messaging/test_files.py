"""Files: signed uploads and downloads, of the tenant's own bucket and nowhere else."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from apps.messaging import log, storage
from apps.messaging.log import Log
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from imcloud.config import ConfigError, read
from tests.messaging.asking import MALFORMED_BYTES, ask, reply
from tests.messaging.conftest import user

ALICE = user("set1")
KEY = "image__RC-2026-11-25_77_1795411018106x.png"


@pytest.fixture(params=["minio", "s3"])
def kind(request: pytest.FixtureRequest, sets: dict[str, Log], settings: Any) -> Iterator[str]:
    """A store of this kind is configured."""
    chosen: str = request.param
    config = read({"IMCLOUD_STORAGE_URL": "http://files.test:9000", "IMCLOUD_STORAGE_KIND": chosen})
    settings.STORAGE_URL, settings.STORAGE_KIND = config.storage_url, chosen
    settings.STORAGE_KEY, settings.STORAGE_SECRET = "the-key", "the-secret"
    settings.UPLOAD_TARGET = config.upload_target
    storage._client.cache_clear()
    yield chosen
    storage._client.cache_clear()


def sign(tenant: int = 1, **wanted: Any) -> im.GetQNupTokenOutput:
    fields: dict[str, Any] = {"type": 1, "key": KEY} | wanted
    asked = im.GetQNupTokenInput(**fields)
    return reply(im.GetQNupTokenOutput, ALICE, "qnTkn", asked, tenant=tenant, server_set="set1")


def refusal(method: str = "qnTkn", **wanted: Any) -> int:
    fields: dict[str, Any] = {"type": 1, "key": KEY} | wanted
    body: Any = im.GetQNupTokenInput if method == "qnTkn" else im.GetDownloadUrlInput
    return ask(ALICE, method, body(**fields)).status


def test_without_a_store_there_is_no_such_method(sets: dict[str, Log]) -> None:
    for method in ("qnTkn", "qnUrl", "minioUrl", "s3Url"):
        assert refusal(method) == AckStatus.NOT_SUPPORTED


def test_an_upload_is_signed_for_one_object_of_the_tenants_bucket(kind: str) -> None:
    signed = sign()
    assert (signed.path, signed.deadline > log.now()) == (KEY, True)
    (target,) = json.loads(signed.ossConfig)
    if kind == "s3":
        assert target["s3"] == "files.test:9000"  # SDKs put the bucket before it
        policy = json.loads(base64.b64decode(signed.s3Policy))
        assert {"bucket": "imcloud-1"} in policy["conditions"] and {"key": KEY} in policy["conditions"]
        assert ["content-length-range", 1, 104857600] in policy["conditions"]
        assert (signed.s3BucketName, signed.s3Algorithm) == ("imcloud-1", "AWS4-HMAC-SHA256")
        assert len(signed.s3Signature) == 64 and signed.s3Credential.startswith("the-key/")
    else:
        assert target["minio"] == "http://files.test:9000"
        assert signed.minioBucketName == "imcloud-1"
        assert signed.minioContentSha256 == "UNSIGNED-PAYLOAD"
        assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date" in signed.minioAuthorization


def test_another_tenant_another_key_or_another_request_has_another_signature(kind: str) -> None:
    others: list[dict[str, Any]] = [{"tenant": 2}, {"key": "another.png"}]
    if kind == "minio":
        others += [
            {"httpMethod": "POST", "queryString": "uploads"},
            {"queryString": "partNumber=1&uploadId=x"},
        ]
    signed = [sign(), *(sign(**other) for other in others)]
    assert len({each.minioAuthorization or each.s3Policy for each in signed}) == len(signed)


def test_a_download_is_of_the_own_bucket_and_has_the_name(kind: str) -> None:
    asked = im.GetDownloadUrlInput(type=4, key=KEY, fileName='Bericht "2".pdf')
    for tenant in (1, 2):
        url = reply(
            im.GetDownloadUrlOutput, ALICE, "qnUrl", asked, tenant=tenant, server_set="set1"
        ).downloadUrl
        parts = urlsplit(url)
        bucket = f"imcloud-{tenant}"
        assert (parts.netloc, unquote(parts.path)) == (
            ("files.test:9000", f"/{bucket}/{KEY}")
            if kind == "minio"
            else (f"{bucket}.files.test:9000", f"/{KEY}")
        )
        query = parse_qs(parts.query)
        assert query["X-Amz-Expires"] == ["3600"]
        assert query["response-content-disposition"] == ["attachment; filename*=UTF-8''Bericht%20%222%22.pdf"]


@pytest.mark.parametrize("key", ["../imcloud-2/x", "/x", "a/./b", "a\nb", "x" * 513])
def test_a_name_that_leads_elsewhere_is_refused(kind: str, key: str) -> None:
    for method in ("qnTkn", "qnUrl"):
        assert refusal(method, key=key) == AckStatus.MALFORMED


def test_what_is_too_large_or_no_upload_is_refused(kind: str) -> None:
    assert refusal(size=104857601) == AckStatus.TOO_BIG
    assert refusal(key="") == AckStatus.NOT_SUPPORTED  # v2, which uploads to none of these stores
    assert ask(ALICE, "qnTkn", MALFORMED_BYTES).status == AckStatus.MALFORMED
    if kind == "minio":
        assert refusal(httpMethod="DELETE") == AckStatus.MALFORMED
        assert refusal(queryString="acl") == AckStatus.MALFORMED
    assert refusal("s3Url" if kind == "minio" else "minioUrl") == AckStatus.NOT_SUPPORTED


@pytest.mark.parametrize("bucket", ["Imcloud", "{app}", "x", "imcloud-{tenant}-" + "x" * 60])
def test_a_bucket_that_cannot_be_is_refused_at_the_start(bucket: str) -> None:
    with pytest.raises(ConfigError, match="IMCLOUD_STORAGE_BUCKET"):
        read({"IMCLOUD_STORAGE_BUCKET": bucket})
