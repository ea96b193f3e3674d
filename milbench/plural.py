"""Numbers with their nouns."""


def plural(n: int, one: str, more: str = "") -> str:
    """1 batch, 2 batches: n and `one`, or `more` (the noun with an s where it is not said)."""
    return f"{n:,} {one if n == 1 else more or one + 's'}"
