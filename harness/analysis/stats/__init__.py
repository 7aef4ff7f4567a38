"""Estimates, covariances and scaling laws of learning curves."""
