"""Training a classifier, or a network for masks, from shards, and evaluating it on strictly real images.

Draws follow from (seed, step, position in the global batch): neither resuming nor the number of workers changes them.
"""
