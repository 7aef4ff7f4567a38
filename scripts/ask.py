"""What the policy of a run answers to prompts, before RL and after, with probabilities.

Examples: harness/commands/ask.py.
"""

from start import start

if __name__ == "__main__":
    start("ask")
