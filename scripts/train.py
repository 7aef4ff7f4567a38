"""One run: a pretrained base (made once), then RL. Examples: harness/commands/train.py."""

from start import start

if __name__ == "__main__":
    start("train")
