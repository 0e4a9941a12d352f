"""Check a deployment: `python -m tools.doctor`."""
