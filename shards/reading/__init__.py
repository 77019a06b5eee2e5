"""Reads shards: finds samples in tars, indexes them, and streams them in a reproducible order."""
