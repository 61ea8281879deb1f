"""Training: batches, the loop, optimiser and schedule, weight averaging, checkpoints, loggers, running a network."""
