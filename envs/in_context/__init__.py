"""A rule that only the examples in the prompt give away. The number of examples is the task's setting."""

EXAMPLES = (1, 2, 4, 8)
