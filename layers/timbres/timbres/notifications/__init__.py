"""Mails in Spanish for events of the bus."""
