"""What the tests share and no production code uses."""
