"""Uploads to a bucket with versions."""

from __future__ import annotations

import hashlib
from functools import cache

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from timbres.aws import multipart_upload as upload
from timbres.aws.multipart_upload import Upload

BUCKET, KEY = "reports", "reports/all/2026-10/consumption.xlsx"
# S3 and moto refuse parts below 5 MiB, except the last.
PART = 5 * 1024 * 1024


@pytest.fixture
def s3(monkeypatch):
    monkeypatch.setattr(upload, "PART_BYTES", PART)
    with mock_aws():
        client = session().client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        client.calls = []
        client.meta.events.register(
            "before-call.s3", lambda model, **_: client.calls.append(model.name)
        )
        yield client


@cache
def session() -> boto3.Session:
    """Return one session for all tests: it reads the model of S3 once."""
    return boto3.Session("testing", "testing", region_name="us-east-1")


def pattern(size: int) -> bytes:
    """Return ``size`` bytes whose parts all differ."""
    block = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(251))
    return (block * (size // len(block) + 1))[:size]


def uploads_left(s3) -> list:
    return s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])


PART_SIZES = [
    (0, 0),
    (1, 0),
    (PART - 1, 0),
    (PART, 0),
    (PART + 1, 2),
    (2 * PART, 2),
    (2 * PART + 1, 3),
]


@pytest.mark.parametrize("chunk", [3 * PART, 65_521], ids=["at-once", "in-pieces"])
@pytest.mark.parametrize(("size", "parts"), PART_SIZES)
def test_the_object_is_what_was_written(s3, size, parts, chunk):
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
    assert not uploads_left(s3)


def test_each_upload_creates_a_version(s3):
    versions = []
    for content in (b"first", b"second"):
        with Upload(s3, BUCKET, KEY) as file:
            file.write(content)
        versions.append(file.version_id)
    contents = [
        s3.get_object(Bucket=BUCKET, Key=KEY, VersionId=version)["Body"].read()
        for version in versions
    ]
    assert contents == [b"first", b"second"]


def write_and_raise(file: Upload, size: int, error: type[BaseException]) -> None:
    with file:
        file.write(pattern(size))
        raise error


@pytest.mark.parametrize("size", [0, 100, PART, 2 * PART + 1])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(s3, size, error):
    file = Upload(s3, BUCKET, KEY)
    with pytest.raises(error):
        write_and_raise(file, size, error)
    assert file.version_id is None
    assert not uploads_left(s3)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("broken", ["UploadPart", "CompleteMultipartUpload"])
def test_an_s3_error_is_raised_and_the_upload_aborted(s3, broken):
    def refuse(**_):
        raise ClientError({"Error": {"Code": "InternalError"}}, broken)

    s3.meta.events.register(f"before-call.s3.{broken}", refuse)
    with pytest.raises(ClientError, match="InternalError"), Upload(s3, BUCKET, KEY) as file:
        file.write(pattern(PART + 1))
    assert not uploads_left(s3)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_a_failed_abort_hides_no_error(s3, caplog):
    def refuse(**_):
        raise ClientError({"Error": {"Code": "SlowDown"}}, "AbortMultipartUpload")

    s3.meta.events.register("before-call.s3.AbortMultipartUpload", refuse)
    with caplog.at_level("WARNING"), pytest.raises(RuntimeError):
        write_and_raise(Upload(s3, BUCKET, KEY), PART + 1, RuntimeError)
    assert "could not be aborted" in caplog.text


def test_a_closed_upload_rejects_writes(s3):
    with Upload(s3, BUCKET, KEY) as file:
        file.write(b"all")
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")
