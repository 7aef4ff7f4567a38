"""From a run table to verdicts, a transfer report and report.html. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("analyze")
