"""`python -m tools.openapi`: write docs/openapi.json."""

from tools.openapi.document import PATH, written

if __name__ == "__main__":
    PATH.write_text(written(), encoding="utf-8")
