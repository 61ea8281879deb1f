"""Training: batches, the loop, optimiser and schedule, weight averaging, checkpoints, loggers, and running a network."""
