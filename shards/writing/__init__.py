"""Writes shards: tar, index, stats and dataset card."""
