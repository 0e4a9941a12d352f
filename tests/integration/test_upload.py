"""Uploads to a bucket with versions."""

from __future__ import annotations

import hashlib
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from timbres.aws.multipart_upload import PART_BYTES, Upload

BUCKET, KEY = "reports", "reports/all/2026-10/consumption.xlsx"
# Parts that all differ.
CONTENT = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(251)) * 2_090
TWO_PARTS = 2 * PART_BYTES


@pytest.fixture(scope="module")
def bucket():
    with mock_aws():
        client: Any = boto3.client("s3", "us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture
def calls(bucket):
    """The names of the calls; those that a test adds with a ! fail."""
    names: list[str] = []

    def record(model, **_):
        if f"!{model.name}" in names:
            raise ClientError({"Error": {"Code": "InternalError"}}, model.name)
        names.append(model.name)

    bucket.meta.events.register("before-call.s3", record)
    yield names
    bucket.meta.events.unregister("before-call.s3", record)


def leftovers(s3, key):
    """Return the open uploads and objects with a key."""
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return [item for item in (*uploads, *found) if item["Key"] == key]


@pytest.mark.parametrize("chunk", [3 * PART_BYTES, 65_521], ids=["at-once", "in-pieces"])
@pytest.mark.parametrize(
    ("size", "parts"), [(0, 0), (PART_BYTES, 0), (PART_BYTES + 1, 2), (TWO_PARTS, 2)]
)
def test_the_object_is_what_was_written(bucket, calls, size, parts, chunk):
    content = CONTENT[:size]
    with Upload(bucket, BUCKET, KEY, ContentType="text/csv", ContentDisposition="inline") as file:
        for start in range(0, size, chunk):
            piece = content[start : start + chunk]
            assert file.write(piece) == len(piece)

    several = ["CreateMultipartUpload", *["UploadPart"] * parts, "CompleteMultipartUpload"]
    assert calls == (several if parts else ["PutObject"])
    stored = bucket.get_object(Bucket=BUCKET, Key=KEY, VersionId=file.version_id)
    assert stored["Body"].read() == content
    assert (stored["ContentType"], stored["ContentDisposition"]) == ("text/csv", "inline")
    assert (file.bytes, file.sha256) == (size, hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


@pytest.mark.parametrize(
    ("size", "failing", "error"),
    [
        (0, [], KeyboardInterrupt),
        (TWO_PARTS + 1, [], RuntimeError),
        (TWO_PARTS, ["!UploadPart"], ClientError),
        (TWO_PARTS, ["!CompleteMultipartUpload"], ClientError),
        (TWO_PARTS, ["!UploadPart", "!AbortMultipartUpload"], ClientError),
    ],
)
def test_an_error_is_raised_and_leaves_nothing_behind(bucket, calls, caplog, size, failing, error):
    calls += failing
    caplog.set_level("WARNING")
    key = f"{size} {failing}"

    with pytest.raises(error), Upload(bucket, BUCKET, key) as file:  # noqa: PT012
        file.write(CONTENT[:size])
        if not failing:
            raise error

    # The rule of the bucket deletes what could not be aborted.
    abort_fails = "!AbortMultipartUpload" in failing
    assert ("could not be aborted" in caplog.text) == abort_fails
    assert (file.version_id, len(leftovers(bucket, key))) == (None, abort_fails)
