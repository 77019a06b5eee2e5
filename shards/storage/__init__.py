"""Where shards are: local folders and object stores, atomic publication, and the local cache."""
