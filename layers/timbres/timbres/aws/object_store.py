"""The bucket of reports in S3, and presigned links to it."""

from __future__ import annotations

from typing import Any

from timbres.aws.multipart_upload import Upload
from timbres.domain.report import INLINE_FORMATS, Report, ReportSpec

LINK_SECONDS = 900
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
    "html": "text/html; charset=utf-8",
}


class ReportStore:
    """The bucket of reports; ``s3`` is a client, ``name`` is the name of the bucket."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3 = s3
        self._name = name

    def upload(self, spec: ReportSpec) -> Upload:
        """Return an upload of a new version of a report's file."""
        return Upload(
            self._s3,
            self._name,
            spec.key,
            ContentType=MEDIA_TYPES[spec.format],
            ContentDisposition=_disposition(spec.download_name),
        )

    def presign_report(self, report: Report) -> str:
        """Return a link to the file of a ready report, valid for 15 minutes."""
        spec = report.spec
        return self.presign(spec.key, report.object_version, spec.download_name, LINK_SECONDS)

    def presign(self, key: str, version: str | None, name: str, seconds: int) -> str:
        """Return a link, valid for ``seconds``, to an object's version.

        A browser shows a page or a PDF, and downloads other formats as ``name``.
        """
        return str(
            self._s3.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._name,
                    "Key": key,
                    "VersionId": version,
                    "ResponseContentDisposition": _disposition(name),
                },
                ExpiresIn=seconds,
            )
        )


def _disposition(name: str) -> str:
    file_format = name.rpartition(".")[2]
    return f'{"inline" if file_format in INLINE_FORMATS else "attachment"}; filename="{name}"'
