"""The command line: one file a verb, results on stdout, progress on stderr."""
