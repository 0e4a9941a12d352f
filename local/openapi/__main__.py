"""`python -m local.openapi`: write docs/openapi.json."""

from local.openapi.document import PATH, written

if __name__ == "__main__":
    PATH.write_text(written(), encoding="utf-8")
