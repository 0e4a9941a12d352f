"""The local stack of the demo and the end-to-end tests; nothing here is deployed."""
