"""Which segment of speech was heard, and which word: accuracies, nulls that keep dependence, and what to show."""
