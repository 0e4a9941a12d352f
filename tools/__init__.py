"""Tools for developers and operators: OpenAPI, doctor, fuzz and build checks."""
