"""The documents that the tests check."""

from local.emulator_process import ROOT

DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", ".github/**/*.md") for path in ROOT.glob(pattern)
)
