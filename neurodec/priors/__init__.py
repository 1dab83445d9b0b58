"""From brain embeddings to image embeddings."""
