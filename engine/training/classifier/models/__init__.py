"""The classifiers. Each file is one plug-in; see `engine.config.classifier_settings`."""
