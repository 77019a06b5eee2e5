"""Generators turn a batch of requests into pixels.

The protocol is in `generator`. Each file of `kinds` is one plug-in: settings, which are parsed without heavy imports,
and a factory. `diffusers_pipeline` is what all kinds that use diffusers share.
"""
