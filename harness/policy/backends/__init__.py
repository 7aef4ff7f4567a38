"""Implementations of a policy's sampling, log-probabilities and gradients."""
