"""Every task with its role, contexts, examples, guess rate and speed. Examples: harness/commands/tasks.py."""

from start import start

if __name__ == "__main__":
    start("tasks")
