"""Training of classifiers, of generators and of adapters, and what these share."""
