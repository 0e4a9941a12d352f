"""Timbres: the CFDI stamps a company holds at its PACs, watched, bought and reported.

Imports point inwards: ``api`` (the gateway's requests and answers) uses ``work`` (what a
user asks for), which uses ``pacs`` and ``aws`` (the outside), which use ``domain`` (values
and rules that know neither).
"""
