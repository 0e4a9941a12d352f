"""Writers of the consumption report, one module per format."""
