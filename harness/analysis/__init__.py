"""From a run table to verdicts: what law a learning curve supports, and whether skill carried over.

Nothing here imports torch or training code: a table written by any trainer is enough.
"""
