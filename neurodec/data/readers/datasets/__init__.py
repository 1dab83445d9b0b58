"""One file per public data set."""
