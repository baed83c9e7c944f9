"""Training: the loop, a step, the optimiser, checkpoints, logs, export."""
