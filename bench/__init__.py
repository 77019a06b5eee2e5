"""Measurements beside what a user would do instead. Each is one command: `python -m bench NAME`."""
