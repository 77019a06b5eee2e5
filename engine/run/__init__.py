"""A run: its plan, what its actors need, what it copies, and the checks before anything is spent."""
