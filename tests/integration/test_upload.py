"""Uploads to a bucket with versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from timbres.aws import multipart_upload
from timbres.aws.multipart_upload import Upload

BUCKET, KEY = "reports", "reports/all/2026-10/consumption.xlsx"
# S3 and moto refuse parts below 5 MiB, except the last.
PART = 5 * 1024 * 1024


@cache
def session() -> boto3.Session:
    """Return one session for all tests: it reads the model of S3 once."""
    return boto3.Session("testing", "testing", region_name="us-east-1")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(multipart_upload, "PART_BYTES", PART)
    with mock_aws():
        client: Any = session().client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        client.calls = []
        client.meta.events.register(
            "before-call.s3", lambda model, **_: client.calls.append(model.name)
        )
        yield client


def pattern(size: int) -> bytes:
    """Return ``size`` bytes whose parts all differ."""
    block = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(251))
    return (block * (size // len(block) + 1))[:size]


def is_empty(s3: Any) -> bool:
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return not uploads and "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("chunk", [3 * PART, 65_521], ids=["at-once", "in-pieces"])
@pytest.mark.parametrize(
    ("size", "parts"),
    [(0, 0), (1, 0), (PART, 0), (PART + 1, 2), (2 * PART, 2), (2 * PART + 1, 3)],
)
def test_the_object_is_what_was_written(s3: Any, size: int, parts: int, chunk: int) -> None:
    content = pattern(size)
    with Upload(s3, BUCKET, KEY, ContentType="text/csv", ContentDisposition="attachment") as file:
        for start in range(0, size, chunk):
            piece = content[start : start + chunk]
            assert file.write(piece) == len(piece)

    calls = ["CreateMultipartUpload", *["UploadPart"] * parts, "CompleteMultipartUpload"]
    assert s3.calls == (calls if parts else ["PutObject"])
    stored = s3.get_object(Bucket=BUCKET, Key=KEY, VersionId=file.version_id)
    assert stored["Body"].read() == content
    assert (stored["ContentType"], stored["ContentDisposition"]) == ("text/csv", "attachment")
    assert (file.bytes, file.sha256) == (size, hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


def write_and_raise(file: Upload, size: int, error: type[BaseException]) -> None:
    with file:
        file.write(pattern(size))
        raise error


@pytest.mark.parametrize("size", [0, PART, 2 * PART + 1])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(s3: Any, size: int, error: type[BaseException]) -> None:
    file = Upload(s3, BUCKET, KEY)
    with pytest.raises(error):
        write_and_raise(file, size, error)
    assert file.version_id is None
    assert is_empty(s3)


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
@pytest.mark.parametrize("abort_fails", [False, True])
def test_an_s3_error_is_raised_and_the_upload_aborted(
    s3: Any, operation: str, abort_fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalError"}}, operation)

    s3.meta.events.register(f"before-call.s3.{operation}", fail)
    if abort_fails:
        s3.meta.events.register("before-call.s3.AbortMultipartUpload", fail)
    with (
        caplog.at_level("WARNING"),
        pytest.raises(ClientError, match="InternalError"),
        Upload(s3, BUCKET, KEY) as file,
    ):
        file.write(pattern(PART + 1))

    assert ("could not be aborted" in caplog.text) == abort_fails
    assert is_empty(s3) != abort_fails
