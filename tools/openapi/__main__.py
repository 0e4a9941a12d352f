"""Write docs/openapi.json: `python -m tools.openapi`."""

from tools.openapi.document import PATH, render_document

if __name__ == "__main__":
    PATH.write_text(render_document(), encoding="utf-8")
