"""Benchmarks of Shardmill beside the tools that a user would otherwise pick: `python -m bench NAME`."""
