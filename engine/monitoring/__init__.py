"""Progress, logs, status, cost, budgets, disk and time estimates, and the contact sheet of a run.

The numbers come from pure functions and classes: `budget`, `estimate.summarize`, `run_status.summarize`, `throughput`,
`trace.trace_events`. The other modules read a run's output, write files or print.
"""
