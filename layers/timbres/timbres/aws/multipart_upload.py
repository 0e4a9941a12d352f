"""Streams an object to S3, with one part in memory and no file on disk."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from typing import Any, Self

logger = logging.getLogger("timbres")

# S3 accepts 10,000 parts of at least 5 MiB; this size allows 78 GiB.
PART_BYTES = 8 * 1024 * 1024


class Upload:
    """A new version of an object, as a write-only file and a context manager.

    ``s3`` is a client; ``headers`` are parameters of ``put_object`` such as ``ContentType``.
    Leaving the context creates the object, an exception removes all of it. The bucket has
    versions. S3 checks every part against its SHA-256 and rejects other content.

    Afterwards ``version_id`` is the version of the object; ``bytes`` and ``sha256``
    (hexadecimal) describe what has been written so far.
    """

    def __init__(self, s3: Any, bucket: str, key: str, **headers: str) -> None:
        self._s3 = s3
        self._object = {"Bucket": bucket, "Key": key}
        self._headers = headers
        self._part = io.BytesIO()
        self._digest = hashlib.sha256()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._closed = False
        self.bytes = 0
        self.version_id: str | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of what has been written so far, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write ``data``; return its length in bytes. Raises what botocore raises."""
        if self._closed:
            raise ValueError("the upload is closed")
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self.bytes += len(view)
        remaining = view
        while remaining:
            # A full part is sent when more data follows: an object of one part is one put.
            if self._part.tell() == PART_BYTES:
                self._send_part()
            count = self._part.write(remaining[: PART_BYTES - self._part.tell()])
            remaining = remaining[count:]
        return len(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._closed = True
        if error is not None:
            self._abort()
            return
        try:
            self.version_id = self._complete()
        except BaseException:
            self._abort()
            raise

    def _send_part(self) -> None:
        if self._upload_id is None:
            upload = self._s3.create_multipart_upload(
                **self._object, **self._headers, ChecksumAlgorithm="SHA256"
            )
            self._upload_id = upload["UploadId"]
        number, part = len(self._parts) + 1, self._drain_part()
        sent = self._s3.upload_part(
            **self._object, UploadId=self._upload_id, PartNumber=number, **part
        )
        checks = {"ETag": sent["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}
        self._parts.append({"PartNumber": number} | checks)

    def _drain_part(self) -> dict[str, Any]:
        """Return the buffered part, without a copy, and its checksum, and begin a new one."""
        body, self._part = self._part.getvalue(), io.BytesIO()
        digest = hashlib.sha256(body).digest()
        return {"Body": body, "ChecksumSHA256": base64.b64encode(digest).decode()}

    def _complete(self) -> str:
        if self._upload_id is None:
            response = self._s3.put_object(**self._object, **self._headers, **self._drain_part())
        else:
            self._send_part()
            response = self._s3.complete_multipart_upload(
                **self._object, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
        return str(response["VersionId"])

    def _abort(self) -> None:
        """Delete the parts sent so far; a failure does not hide the error before it."""
        if self._upload_id is None:
            return
        try:
            self._s3.abort_multipart_upload(**self._object, UploadId=self._upload_id)
        except Exception:
            # The bucket's lifecycle rule deletes them later.
            logger.warning(
                "a multipart upload could not be aborted", exc_info=True, extra=self._object
            )
