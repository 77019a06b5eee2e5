"""Conditions of images besides the prompt: real images, their edges, and layouts whose masks are labels."""
