"""What a person runs: `python -m jobs --help`."""
