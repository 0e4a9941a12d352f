"""What things cost here, each against a limit or a usual way, side by side in one run."""
