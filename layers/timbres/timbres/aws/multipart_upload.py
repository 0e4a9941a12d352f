"""An object of S3, written while it comes into being: no file, and one part in memory."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger("timbres")

# S3 takes 10,000 parts of at least 5 MiB: with these, 78 GiB.
PART_BYTES = 8 * 1024 * 1024


class Upload:
    """One new version of an object, as a file that can only be written.

    ``s3`` is a client; ``headers`` are what S3 tells whoever reads the object, by
    ``put_object``'s names, such as ``ContentType``. A context manager: leaving it makes the
    object, an exception leaves nothing of it behind. The bucket keeps versions. S3 itself
    checks every part against its SHA-256 and refuses another content.

    Afterwards ``version_id`` is the object's; ``bytes`` and ``sha256`` (hexadecimal)
    describe what has been written so far.
    """

    def __init__(self, s3: Any, bucket: str, key: str, **headers: str) -> None:
        self._s3 = s3
        self._object = {"Bucket": bucket, "Key": key}
        self._headers = headers
        self._part = io.BytesIO()
        self._digest = hashlib.sha256()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._closed = False
        self.bytes = 0
        self.version_id: str | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of all that was written, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take ``data``; return its length in bytes. Raises what botocore raises."""
        if self._closed:
            raise ValueError("the upload is closed")
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self.bytes += len(view)
        rest = view
        while rest:
            # A full part waits for what follows: an object of one part is one put.
            if self._part.tell() == PART_BYTES:
                self._send_part()
            taken = self._part.write(rest[: PART_BYTES - self._part.tell()])
            rest = rest[taken:]
        return len(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        if self._upload is None:
            answer = self._s3.create_multipart_upload(
                **self._object, **self._headers, ChecksumAlgorithm="SHA256"
            )
            self._upload = answer["UploadId"]
        number, body = len(self._parts) + 1, self._taken()
        checksum = _base64(hashlib.sha256(body).digest())
        answer = self._s3.upload_part(
            **self._object,
            UploadId=self._upload,
            PartNumber=number,
            Body=body,
            ChecksumSHA256=checksum,
        )
        self._parts.append(
            {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}
        )

    def _taken(self) -> bytes:
        """Take out the part that has come together: its own memory, not a copy of it."""
        part, self._part = self._part, io.BytesIO()
        return part.getvalue()

    def _complete(self) -> str:
        if self._upload is None:
            answer = self._s3.put_object(
                **self._object,
                **self._headers,
                Body=self._taken(),
                ChecksumSHA256=_base64(self._digest.digest()),
            )
        else:
            self._send_part()
            answer = self._s3.complete_multipart_upload(
                **self._object, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
            )
        return str(answer["VersionId"])

    def _abort(self) -> None:
        """Free the parts sent so far; what has gone wrong before stays the error."""
        if self._upload is None:
            return
        try:
            self._s3.abort_multipart_upload(**self._object, UploadId=self._upload)
        except Exception:
            # The bucket's lifecycle frees them then.
            logger.warning(
                "a multipart upload could not be aborted", exc_info=True, extra=self._object
            )


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
