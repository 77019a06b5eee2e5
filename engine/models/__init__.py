"""Model files: where they come from, which of them are loaded, their provenance, and the device that runs them."""
