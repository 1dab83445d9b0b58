"""From image embeddings to pictures: guided diffusion over diffusers pipelines, and the embedded tiny decoder."""
