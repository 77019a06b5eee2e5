"""Optimizations of diffusers pipelines, each of which can be switched off."""
