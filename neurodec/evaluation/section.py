"""What a recipe's `evaluation:` section may name."""


class Evaluation:
    """Base of `Retrieval` and `Classification`, so that a recipe can choose between them by class path."""
