"""Finds out at start what the S3 server can do; servers differ where they all say they are compatible."""

import io
import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta

import urllib3
from minio import Minio

log = logging.getLogger(__name__)

_BYTES = b"browserfleet probe"
_URL_TTL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Capabilities:
    """`conditional_put`: `If-None-Match: *` refuses to overwrite. `ranges`: a signed URL answers a Range with 206."""

    conditional_put: bool
    ranges: bool


def probe(client: Minio, http: urllib3.PoolManager, bucket: str) -> S3Capabilities:
    """Write, read and remove one small object. Blocks; raises what the client and urllib3 raise."""
    key = f".probe/{secrets.token_hex(8)}"
    put_url = client.get_presigned_url("PUT", bucket, key, expires=_URL_TTL)
    get_url = client.get_presigned_url("GET", bucket, key, expires=_URL_TTL)
    client.put_object(bucket, key, io.BytesIO(_BYTES), len(_BYTES))
    try:
        # The header is not part of the signature, so a signed URL can carry it.
        second = http.request("PUT", put_url, body=_BYTES, headers={"If-None-Match": "*"}, retries=False)
        ranged = http.request("GET", get_url, headers={"Range": "bytes=0-3"}, retries=False)
    finally:
        client.remove_object(bucket, key)
    found = S3Capabilities(
        conditional_put=second.status == 412, ranges=ranged.status == 206 and ranged.data == _BYTES[:4]
    )
    log.info("the object store: conditional put %s, ranges %s", found.conditional_put, found.ranges)
    if not found.ranges:
        log.warning("the object store ignores Range: players cannot seek in recordings before they are loaded")
    return found
