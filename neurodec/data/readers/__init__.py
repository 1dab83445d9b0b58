"""One file per family of recordings; all are importable as ``neurodec.data.NAME``."""
