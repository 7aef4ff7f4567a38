"""Short strings in, a string out."""
