"""docs/openapi.json: the API in OpenAPI 3.1, put together from what says each thing once.

The routes and the gateway's own errors are template.yaml's, the functions' errors the
layer's table; what a route takes and answers is written here. No function loads any of it.
"""

from tools.openapi.document import PATH, document, write_document

__all__ = ["PATH", "document", "write_document"]
