"""How loops over an array cut it."""


def largest_divisor(of: int, at_most: float) -> int:
    """The largest number that divides `of` and is `at_most` so large, or else 1: the size of blocks that are alike."""
    return max(size for size in range(1, of + 1) if of % size == 0 and size <= max(at_most, 1))
