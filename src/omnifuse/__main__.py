"""`python -m omnifuse`, and `torchrun ... -m omnifuse`: the command line."""

from omnifuse.cli.main import run

if __name__ == "__main__":
    run()
