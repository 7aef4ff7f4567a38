"""What the policy of a run answers to prompts, before RL and after. Examples: harness/commands/ask.py."""

from start import start

if __name__ == "__main__":
    start("ask")
