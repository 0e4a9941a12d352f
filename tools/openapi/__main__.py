"""Writes docs/openapi.json: `python -m tools.openapi`."""

from tools.openapi.document import PATH, write_document

if __name__ == "__main__":
    PATH.write_text(write_document(), encoding="utf-8")
