"""What follows from the size of a group, the completions of one problem."""


def signal_share(success: float, group_size: int) -> float:
    """Share of groups that hold both right and wrong completions, 1 - q^G - (1 - q)^G: the others have zero advantage.
    q is the same for all problems of a cell: where they differ, it is an upper bound."""
    return 1.0 - success**group_size - (1.0 - success) ** group_size
