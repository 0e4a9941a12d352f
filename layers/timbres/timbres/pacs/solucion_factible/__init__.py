"""Solución Factible: stamp counts and contracts over SOAP."""
