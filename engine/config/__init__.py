"""What one YAML file may say, and what it means: `run.Spec`, and a file for each of its parts.

The settings of a model stand beside the generator that reads them. Reading files and wording errors is in
`engine.config.spec_file`. Nothing here imports more than pydantic.
"""
