"""Real images: where they come from, and which of them a generator, a classifier and a judge may see."""
