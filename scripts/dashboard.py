"""A W&B workspace that compares the arms of a study. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("dashboard")
