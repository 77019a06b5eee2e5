"""Writing of shards: tar, index, stats and dataset card."""
