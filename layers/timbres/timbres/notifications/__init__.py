"""Mails in Spanish for events."""
