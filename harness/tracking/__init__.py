"""Results in other tools: Weights & Biases, and the logs of other trainers."""
