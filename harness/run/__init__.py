"""One run: its folder, checkpoints, callbacks, evaluations and metrics."""
