"""The packaged small networks: how each is built, and its weights."""
