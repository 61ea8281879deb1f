"""What leaves the training machine: the artefact folder and what reads it."""
