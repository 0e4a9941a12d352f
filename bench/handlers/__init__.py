"""Handlers that the functions of Timbres are compared with."""
