"""The sources of real images. Each file is one plug-in; see `engine.plugins`."""
