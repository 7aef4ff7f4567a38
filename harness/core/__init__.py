"""What every other part may import: errors, signals, seeding, FLOPs and the types of the RL step."""
