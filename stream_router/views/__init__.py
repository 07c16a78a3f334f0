"""What people look at: drawn from the typed status of core/rollout/status.py, and from nothing else."""
