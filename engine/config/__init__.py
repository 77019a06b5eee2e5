"""What one YAML file may say, and what it means. The settings of a plug-in stand beside its factory."""
