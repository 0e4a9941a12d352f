"""JSON of domain objects in the API and the events, defined once per type."""
