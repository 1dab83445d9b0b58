"""Which candidate was seen: similarity, ranks, curves, sets of candidates."""
