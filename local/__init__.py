"""What the demo and the end-to-end tests stand on; nothing here is deployed."""
