"""The measures. Each file is one plug-in; see `engine.evaluation.measure_plugin`."""
