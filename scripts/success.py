"""Initial success by difficulty of every task of the standard base. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("success")
