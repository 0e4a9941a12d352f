"""Writers of the consumption report, one module a format."""
