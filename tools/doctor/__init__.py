"""What an operator is told before and after a deployment: `python -m tools.doctor`."""
