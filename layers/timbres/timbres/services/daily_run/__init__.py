"""The daily run: start, workers, finalization."""
