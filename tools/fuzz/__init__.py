"""Fuzz the API: docs/openapi.json against the local AWS."""
