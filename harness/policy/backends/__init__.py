"""Implementations of a policy's sampling, log-probabilities and gradients; see backend.py."""
