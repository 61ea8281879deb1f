"""One script per claim; results as JSON with source tree, hardware and load."""
