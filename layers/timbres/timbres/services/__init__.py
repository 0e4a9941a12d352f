"""One module per operation: domain objects in and out."""
