"""A log of TRL or verl as a run table, which scripts/analyze.py reads. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("convert")
