"""A policy as a Hugging Face model, with its tokenizer. Examples: harness/commands/main.py."""

from start import start

if __name__ == "__main__":
    start("export")
