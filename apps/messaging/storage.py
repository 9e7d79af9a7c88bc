"""Signed uploads to an S3-compatible store and downloads from it. Signing asks nobody: it is computation.

Every tenant has a bucket of its own, since the SDKs choose the names of the objects in it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import Config
from botocore.credentials import Credentials
from django.conf import settings

UNSIGNED = "UNSIGNED-PAYLOAD"  # the body is not known when its upload is signed


class _Unsigned(S3SigV4Auth):
    def payload(self, request: AWSRequest) -> str:
        return UNSIGNED


@functools.cache
def _client() -> Any:
    addressing = "path" if settings.STORAGE_KIND == "minio" else "virtual"
    return boto3.client(
        "s3",
        endpoint_url=settings.STORAGE_URL,
        region_name=settings.STORAGE_REGION,
        aws_access_key_id=settings.STORAGE_KEY,
        aws_secret_access_key=settings.STORAGE_SECRET,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing},
            request_checksum_calculation="when_required",  # older stores do not know others
        ),
    )


def bucket(tenant: int) -> str:
    """The tenant's."""
    return str(settings.STORAGE_BUCKET.format(tenant=tenant))


def upload_form(tenant: int, key: str) -> dict[str, str]:
    """The fields of a form that uploads one object: POST policy of S3, signature version 4."""
    conditions = [
        ["content-length-range", 1, settings.STORAGE_SIZE],
        ["starts-with", "$Content-Type", ""],
        ["starts-with", "$Content-Disposition", ""],
    ]
    lifetime = settings.STORAGE_LIFETIME
    form = _client().generate_presigned_post(bucket(tenant), key, Conditions=conditions, ExpiresIn=lifetime)
    fields: dict[str, str] = form["fields"]
    return fields


def upload_headers(tenant: int, key: str, method: str, query: str) -> dict[str, str]:
    """The headers of one request of an upload, which a PUT or the parts of a large file are made of."""
    url = f"{settings.STORAGE_URL}/{bucket(tenant)}/{quote(key)}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers={"X-Amz-Content-SHA256": UNSIGNED})
    keys = Credentials(settings.STORAGE_KEY, settings.STORAGE_SECRET)
    _Unsigned(keys, "s3", settings.STORAGE_REGION).add_auth(request)
    return dict(request.headers.items())


def download_url(tenant: int, key: str, name: str) -> str:
    """Where the object is for a while; browsers save it under the name."""
    parameters = {"Bucket": bucket(tenant), "Key": key}
    if name:
        parameters["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    url: str = _client().generate_presigned_url("get_object", parameters, settings.STORAGE_LIFETIME)
    return url


# --- files that the server itself has there


def upload(tenant: int, key: str, file: Path) -> None:
    """Put a file there, in parts when it is large."""
    _client().upload_file(str(file), bucket(tenant), key)


def delete(tenant: int, key: str) -> None:
    """Remove an object; one that is not there need not be removed."""
    _client().delete_object(Bucket=bucket(tenant), Key=key)
