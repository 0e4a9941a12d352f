"""What the API and the events show of domain objects: JSON, once per type."""
