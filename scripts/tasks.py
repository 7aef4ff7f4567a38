"""Every task with its role, contexts, examples, guess rate and speed. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("tasks")
