"""The generation library: from a spec to shards of labelled synthetic images."""
