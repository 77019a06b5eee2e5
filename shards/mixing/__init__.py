"""Mixes streams at an exact synthetic fraction."""
