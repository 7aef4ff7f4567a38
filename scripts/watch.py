"""A local page that follows a study while it runs. Examples: harness/commands/watch.py."""

from start import start

if __name__ == "__main__":
    start("watch")
