"""The kinds of generators. Each file is one plug-in; see `engine.generators.generator`."""
