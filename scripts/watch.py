"""A local page that follows a study while it runs. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("watch")
