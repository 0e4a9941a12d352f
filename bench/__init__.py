"""What Timbres costs, measured side by side with the least it could cost."""
