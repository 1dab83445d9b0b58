"""Training an encoder against frozen embeddings."""
