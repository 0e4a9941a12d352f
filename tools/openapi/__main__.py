"""`python -m tools.openapi`: write docs/openapi.json."""

from tools.openapi.document import PATH, write_document

if __name__ == "__main__":
    PATH.write_text(write_document(), encoding="utf-8")
