"""Numbers in, a number out."""
