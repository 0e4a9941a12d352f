"""The API under a fuzzer: docs/openapi.json against the local AWS."""
