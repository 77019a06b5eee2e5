"""What people watch a run by, and what holds it within its means: progress, logs, status, estimates, budgets."""
