"""Plug-ins of another distribution: a generator, a source, a filter and a measure."""
