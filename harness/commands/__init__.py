"""The commands of `rl-scaling`, one module each; scripts/ holds a thin file for each of them."""
