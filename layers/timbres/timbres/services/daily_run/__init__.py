"""The daily run: its start, its workers, its end."""
