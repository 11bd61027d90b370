"""RL-Restore: one agent that chooses a chain of restoration tools for a whole image."""
