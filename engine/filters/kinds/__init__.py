"""The filters. Each file is one plug-in; see `engine.filters.filter`."""
