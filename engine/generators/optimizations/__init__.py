"""Optimizations of a diffusers pipeline. `optimizations_spec` holds their settings."""
