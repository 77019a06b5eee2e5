"""Mixing of streams at an exact synthetic fraction."""
