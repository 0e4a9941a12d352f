"""`python -m local.openapi`: write docs/openapi.json and docs/api.html."""

from local.openapi import page
from local.openapi.document import PATH, document, written

if __name__ == "__main__":
    PATH.write_text(written(), encoding="utf-8")
    page.PATH.write_text(page.written(document()), encoding="utf-8")
