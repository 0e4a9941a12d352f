"""Timbres: monitors, contracts and reports the CFDI stamps that a company holds at its PACs.

Imports point inwards: ``handlers`` (HTTP and schedules) use ``services`` (one module per
operation), which use ``aws``, ``pacs``, ``repositories``, ``notifications`` and ``schemas``,
which use ``domain`` (values and rules, without AWS and HTTP).
"""
