"""Tools for shards: inspect, verify, reshard, find overlaps, and configure other clients."""
