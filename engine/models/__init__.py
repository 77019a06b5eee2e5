"""Models on disk: where a spec's models come from, which of their files are loaded, and the device that runs them."""
