"""Initial success by difficulty of every task that the standard base was pretrained on.

Examples: harness/commands/success.py.
"""

from start import start

if __name__ == "__main__":
    start("success")
