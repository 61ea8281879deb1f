"""Other systems on the same files in the same run, each in an environment of its own."""
