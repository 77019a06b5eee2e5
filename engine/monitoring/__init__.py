"""Progress, logs, status, cost, budgets, disk and time estimates, and the contact sheet of a run."""
