"""The runs of an output folder: their names, ids, and how far they have come. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("runs")
