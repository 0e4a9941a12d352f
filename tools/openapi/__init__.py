"""Generate docs/openapi.json, the API in OpenAPI 3.1.

The routes and the gateway's own errors come from template.yaml, the functions' errors from the
layer. This package defines parameters, bodies and responses. No function imports it.
"""

from tools.openapi.document import PATH, build_document, render_document

__all__ = ["PATH", "build_document", "render_document"]
