"""Filters: they judge images before these are stored."""
