"""Every task with its role, contexts, example prompts and answers, guess rate and generation speed.

Examples: harness/commands/tasks.py.
"""

from start import start

if __name__ == "__main__":
    start("tasks")
