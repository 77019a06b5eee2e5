"""Prompts: from a slot to the text that a generator follows."""
