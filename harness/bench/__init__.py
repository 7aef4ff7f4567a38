"""Measurements behind the figures in docs: each module has `measure(progress)` and `page(measured)`."""
