"""What functions import at a cold start, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.support.template import REGION, ROOT, template

PARTS = ("timbres.pacs", "timbres.services", "timbres_reports", "timbres.repositories.accounts")
RESOLVER = "aws_lambda_powertools.event_handler"
LIBRARIES = ("zeep", "requests", "lxml", "reportlab", "xlsxwriter", "ijson", "jinja2")


@pytest.mark.parametrize(
    ("function", "objects", "imported", "missing"),
    [
        # The slowest libraries are loaded when they are needed.
        ("mail", "", ("jinja2",), (RESOLVER,)),
        ("contract", "", ("timbres.pacs",), ("jinja2",)),
        # Most requests are redirects; only an error page is a template.
        (
            "download_token",
            "",
            ("timbres.repositories.download_tokens",),
            (*PARTS, *LIBRARIES, RESOLVER, "timbres.repositories.contracts"),
        ),
        ("download_token", "app.not_found_page(1)", ("jinja2",), ()),
    ],
)
def test_a_function_imports_only_what_it_needs(
    function: str, objects: str, imported: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    path = f'sys.path[:0] = ["layers/timbres", "layers/reports", "functions/{function}"]'
    code = f"import sys; {path}; import app; {objects or None}; print(*sys.modules)"
    settings = template().environment(function, lambda _: "1") | {"POWERTOOLS_LOG_LEVEL": "INFO"}

    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | settings | {"AWS_DEFAULT_REGION": REGION},
        capture_output=True,
        text=True,
        check=True,
    )

    modules = process.stdout.split()
    assert set(imported) <= set(modules)
    assert [module for module in modules if module.startswith(missing)] == []
