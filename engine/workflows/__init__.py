"""The jobs from beginning to end, one module each. The command line calls them; so can a notebook or a service."""
