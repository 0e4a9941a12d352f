"""Handlers that the true ones are measured against."""
