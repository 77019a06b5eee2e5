"""The export formats. Each file is one plug-in; see `engine.export.export_format`."""
